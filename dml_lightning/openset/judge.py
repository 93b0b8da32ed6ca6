"""Decisions on boxes from their distances to the classes: names, and by each rule whether a box is known.

Everything that is decided from distances is decided here. This file needs NumPy alone, as every export has a copy.

Letters: N boxes, C classes trained on, E enrolled species, k neighbours, n calibration crops.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]


class DecisionRule(NamedTuple):
    """A rule's score of a box from its distances to the classes, and the threshold above which it refuses."""

    threshold: float  # scores above it are refused; infinite refuses nothing
    balls: Floats | None = None  # (C,) radii to subtract from the distances; None: the distances themselves
    given: bool = False  # whether its scores are given to `judge`, as distances alone do not tell them


class Judgement(NamedTuple):
    """Names, scores and decisions of N boxes. Names are positions: classes trained on, then enrolled species."""

    name: Whole  # (N,) classifier's or nearest class, or the enrolled species in whose ball the box lies
    nearest: Whole  # (N,) of the nearest prototype
    adjusted: Whole  # (N,) of the smallest distance minus the radius of the class
    distance: Floats  # (N,) to the nearest prototype
    distance_trained: Floats  # (N,) to the nearest of the classes trained on
    score: dict[str, Floats]  # (N,) larger is more OOD
    known: dict[str, NDArray[np.bool_]]  # (N,) the decision: not refused
    p_value: Floats  # (N,) under rule C for the classes trained on; NaN without


def judge(
    trained: Floats,
    enrolled: Floats,
    radii: Floats,
    enrolled_radii: Floats,
    rules: Mapping[str, DecisionRule],
    calibration: Floats | None = None,
    classified: Whole | None = None,
    given: Floats | None = None,
) -> Judgement:
    """Name N boxes, and decide by each rule whether they are known.

    A box belongs to an enrolled species if the species' prototype is the nearest of all and the box lies in its
    ball; it is then known by every rule. All other boxes are named and judged by the classes trained on alone. So
    enrolling a species refuses no box that was known, and assigns no refused box to a class trained on.

    Args:
        trained: Distances (N, C) to the prototypes of the classes trained on.
        enrolled: Distances (N, E) to the prototypes of the enrolled species.
        radii: Radii (C,) of the classes trained on.
        enrolled_radii: Radii (E,) of the enrolled species.
        rules: Rules by name; a calibrated one must be called `C`.
        calibration: Scores (n,) of rule C's calibration crops, ascending; without them p-values are NaN.
        classified: Classes (N,) by a classifier, where there is one; otherwise the nearest prototype names.
        given: Scores (N,) for the rules that need them.

    Example:
        >>> rules = {"A": DecisionRule(2.0)}
        >>> boxes = judge(np.array([[1.0, 4.0], [6.0, 5.0]]), np.empty((2, 0)), np.ones(2), np.empty(0), rules)
        >>> boxes.name, boxes.known["A"]
        (array([0, 1]), array([ True, False]))
    """
    distances = np.concatenate([trained, enrolled], axis=1)
    nearest = distances.argmin(axis=1)
    excess = enrolled - enrolled_radii  # (N, E)
    outside = _outside_own_ball(nearest - trained.shape[1], excess)
    scores = {name: given if rule.given and given is not None else score(trained, rule) for name, rule in rules.items()}
    return Judgement(
        name=np.where(outside <= 0, nearest, trained.argmin(axis=1) if classified is None else classified),
        nearest=nearest,
        adjusted=np.concatenate([trained - radii, excess], axis=1).argmin(axis=1),
        distance=distances.min(axis=1),
        distance_trained=trained.min(axis=1),
        score={name: _with_enrolled(scores[name], rule.threshold, outside) for name, rule in rules.items()},
        known={name: (scores[name] <= rule.threshold) | (outside <= 0) for name, rule in rules.items()},
        p_value=np.full(len(trained), np.nan) if calibration is None else conformal_p_values(calibration, scores["C"]),
    )


def distances(vectors: Floats, points: Floats) -> Floats:
    """Distances (N, P) of vectors (N, D) to a few points (P, D), from their differences.

    Example:
        >>> distances(np.array([[0.0, 0.0]]), np.array([[3.0, 4.0], [0.0, 0.0]]))
        array([[5., 0.]])
    """
    columns = [np.sqrt(((vectors - point) ** 2).sum(axis=1)) for point in points]
    return np.stack(columns, axis=1) if columns else np.empty((len(vectors), 0))


def score(distances: Floats, rule: DecisionRule) -> Floats:
    """Score (N,) of a rule: the smallest distance (N, C) to a class, minus the class's radius if the rule has balls.

    Example:
        >>> score(np.array([[1.0, 4.0]]), DecisionRule(0.0, balls=np.array([0.5, 3.75])))
        array([0.25])
    """
    least: Floats = (distances if rule.balls is None else distances - rule.balls).min(axis=1)
    return least


def conformal_p_values(calibration: Floats, scores: Floats) -> Floats:
    """Conformal p-values (N,): (1 + number of calibration scores at or above the score) / (n + 1).

    Args:
        calibration: Calibration scores (n,), ascending.
        scores: Scores (N,) to judge.

    Example:
        >>> conformal_p_values(np.array([1.0, 2.0, 3.0]), np.array([0.5, 2.0, 9.0]))
        array([1.  , 0.75, 0.25])
    """
    below = np.searchsorted(calibration, scores, side="left")
    return np.asarray((1 + len(calibration) - below) / (len(calibration) + 1), dtype=np.float64)


def gaps(distances: Floats, logits: NDArray[Any] | None = None) -> Floats:
    """How far each class (N, C) lies behind the best one, which has 0: the score of sets of species.

    Args:
        distances: Distances (N, C) to the prototypes of the classes trained on.
        logits: Logits (N, C) of an arm that names by them; the gap is then the log of a ratio of probabilities.

    Example:
        >>> gaps(np.array([[1.0, 4.0, 1.5]]))
        array([[0. , 3. , 0.5]])
        >>> gaps(np.array([[1.0, 4.0]]), logits=np.array([[0.0, 2.0]]))
        array([[2., 0.]])
    """
    if logits is None:
        behind: Floats = distances - distances.min(axis=1, keepdims=True)
        return behind
    evidence = logits.astype(np.float64)
    return np.asarray(evidence.max(axis=1, keepdims=True) - evidence)


def species_sets(behind: Floats, limits: Floats, excess: Floats) -> NDArray[np.bool_]:
    """Whether each species is in the set (N, C + E) of each box: classes trained on, then enrolled species.

    The best class is in every set. An enrolled species, which has no crops to calibrate on, is in the sets of the boxes
    in its ball, beside the classes that are there anyway: no set loses a class by it, and nothing is promised for it.

    Args:
        behind: Result (N, C) of `gaps`.
        limits: Largest gap (C,) of each class in a set, at least 0.
        excess: Distances (N, E) to the prototypes of enrolled species minus their radii.

    Example:
        >>> species_sets(np.array([[0.0, 3.0, 0.5]]), np.array([1.0, 1.0, 1.0]), excess=np.array([[-0.1]]))
        array([[ True, False,  True,  True]])
    """
    return np.concatenate([behind <= limits, excess <= 0], axis=1)


def named_sets(behind: Floats, members: NDArray[np.bool_], names: Sequence[str]) -> list[list[str]]:
    """Names of the species in each of N sets, the smallest gap first, enrolled species last.

    Args:
        behind: Result (N, C) of `gaps`.
        members: Result (N, C + E) of `species_sets`.
        names: Names (C + E,).

    Example:
        >>> named_sets(np.array([[0.5, 0.0]]), np.array([[True, True, False]]), ["coot", "teal", "swan"])
        [['teal', 'coot']]
    """
    enrolled = np.arange(behind.shape[1], members.shape[1])
    order = np.concatenate([behind.argsort(axis=1, kind="stable"), np.tile(enrolled, (len(behind), 1))], axis=1)
    return [[names[i] for i in row if inside[i]] for row, inside in zip(order.tolist(), members.tolist(), strict=True)]


def vote(labels: NDArray[Any]) -> NDArray[Any]:
    """Most common label (N,) in each row of labels (N, k), nearest first; among ties the label of the nearest.

    Example:
        >>> vote(np.array([[2, 1, 1], [3, 2, 1]]))
        array([1, 3])
    """
    votes = (labels[:, :, None] == labels[:, None, :]).sum(axis=2)
    commonest: NDArray[Any] = labels[np.arange(len(labels)), votes.argmax(axis=1)]
    return commonest


def _outside_own_ball(species: Whole, excess: Floats) -> Floats:
    """Distance (N,) of each box outside the ball of its nearest enrolled species; infinite if a class is nearer.

    Args:
        species: Number (N,) of the nearest species; negative where a class trained on is nearest.
        excess: Distances (N, E) to the prototypes of the species minus their radii.
    """
    outside = np.full(len(species), np.inf)
    rows = np.flatnonzero(species >= 0)
    outside[rows] = excess[rows, species[rows]]
    return outside


def _with_enrolled(scores: Floats, threshold: float, outside: Floats) -> Floats:
    """Scores (N,) where the balls of enrolled species count too: at most the threshold inside such a ball."""
    joined: Floats = np.minimum(scores, threshold + outside) if np.isfinite(threshold) else scores
    return joined
