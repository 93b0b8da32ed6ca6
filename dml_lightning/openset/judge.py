"""The judgement of a box: its name, and by each rule whether it is known. NumPy alone, and copied into every export.

Distances come in, from whatever made the embeddings; all that is decided from them is decided here.

Letters: N boxes, C classes trained on, E enrolled species, k neighbours, n calibration crops.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]


class DecisionRule(NamedTuple):
    """How a rule scores a box from its distances to the classes, and from which score on it refuses."""

    threshold: float  # scores above it are refused; infinite refuses nothing
    balls: Floats | None = None  # (C,) taken off the distances, None for the distances themselves


class Judgement(NamedTuple):
    """Names as positions among the classes trained on, then the enrolled species; scores and decisions by rule."""

    name: Whole  # (N,) by the arm's own rule, or the enrolled species in whose ball the box lies
    nearest: Whole  # (N,) of the nearest prototype
    adjusted: Whole  # (N,) of the smallest distance less the radius of the class
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
) -> Judgement:
    """Names and refusals of N boxes.

    An enrolled species adds to what is known the boxes within its ball of which its prototype is the nearest, and
    takes nothing from it: a box that a rule knows without it stays known. All other boxes are named and judged by
    the classes trained on, so enrolling a species makes no refused box one of theirs.

    Args:
        trained: (N, C) distances to the prototypes of the classes trained on.
        enrolled: (N, E) distances to those of the enrolled species.
        radii: (C,) of the classes.
        enrolled_radii: (E,) of the species.
        rules: By name; that of rule C is `C`.
        calibration: (n,) scores of rule C's calibration crops, ascending.
        classified: (N,) classes by a classifier, of an arm that has one; the nearest prototype names without.
    """
    distances = np.concatenate([trained, enrolled], axis=1)
    nearest = distances.argmin(axis=1)
    excess = enrolled - enrolled_radii  # (N, E)
    outside = _outside_own_ball(nearest - trained.shape[1], excess)
    own = {name: score(trained, rule) for name, rule in rules.items()}
    return Judgement(
        name=np.where(outside <= 0, nearest, trained.argmin(axis=1) if classified is None else classified),
        nearest=nearest,
        adjusted=np.concatenate([trained - radii, excess], axis=1).argmin(axis=1),
        distance=distances.min(axis=1),
        distance_trained=trained.min(axis=1),
        score={name: _with_enrolled(own[name], rule.threshold, outside) for name, rule in rules.items()},
        known={name: (own[name] <= rule.threshold) | (outside <= 0) for name, rule in rules.items()},
        p_value=conformal_p_values(calibration, own["C"]) if calibration is not None else np.full(len(trained), np.nan),
    )


def score(distances: Floats, rule: DecisionRule) -> Floats:
    """Score (N,) of a rule from distances (N, C) to the classes: the smallest, less the class's ball if it has one."""
    least: Floats = (distances if rule.balls is None else distances - rule.balls).min(axis=1)
    return least


def conformal_p_values(calibration: Floats, scores: Floats) -> Floats:
    """Conformal p-values (N,): (1 + calibration scores (n,) at or above the score) / (n + 1).

    >>> conformal_p_values(np.array([1.0, 2.0, 3.0]), np.array([0.5, 2.0, 9.0]))
    array([1.  , 0.75, 0.25])

    Args:
        calibration: (n,) ascending.
        scores: (N,).
    """
    below = np.searchsorted(calibration, scores, side="left")
    return np.asarray((1 + len(calibration) - below) / (len(calibration) + 1), dtype=np.float64)


def vote(labels: NDArray[Any]) -> NDArray[Any]:
    """The commonest of each row of labels (N, k), nearest first; of equally common ones that of the nearest.

    >>> vote(np.array([[2, 1, 1], [3, 2, 1]]))
    array([1, 3])
    """
    votes = (labels[:, :, None] == labels[:, None, :]).sum(axis=2)
    commonest: NDArray[Any] = labels[np.arange(len(labels)), votes.argmax(axis=1)]
    return commonest


def _outside_own_ball(species: Whole, excess: Floats) -> Floats:
    """How far each box (N,) lies outside the ball of the enrolled species that it is nearest to.

    Args:
        species: (N,) number of that species, negative where a class trained on is nearest: infinitely far.
        excess: (N, E) distances to the prototypes of the species less their radii.
    """
    outside = np.full(len(species), np.inf)
    mine = np.flatnonzero(species >= 0)
    outside[mine] = excess[mine, species[mine]]
    return outside


def _with_enrolled(own: Floats, threshold: float, outside: Floats) -> Floats:
    """A score (N,) with the balls of the enrolled species beside those of the classes trained on."""
    joined: Floats = np.minimum(own, threshold + outside) if np.isfinite(threshold) else own
    return joined
