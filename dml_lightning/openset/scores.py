"""Scores by which a crop can be refused: of its embedding or of its backbone's features, larger = more OOD.

A run chooses one of them on validation (`evaluation.choice`). This file needs NumPy alone, as every export has a copy.

The reject class of a classifier that was trained with clutter gives one of them, in the form of its log odds.

Letters: N crops, C classes trained on, M reference crops, D embedding size, F number of features, n validation crops.

>>> arrays = {"radii": np.array([1.0, 0.0]), "vectors": np.array([[0.0], [2.0], [9.0]])}
>>> crops = Crops(distances=np.array([[3.0, 5.0]]), vectors=np.array([[4.0]]))
>>> {kind: float(score(kind, crops, arrays)[0]) for kind in kinds(arrays)}
{'nearest': 3.0, 'radius': 2.0, 'knn1': 2.0, 'knn5': 5.0}
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Arrays = Mapping[str, NDArray[Any]]  # what scores were fitted on, by name; see KINDS and `ranked`

RANK_SUM = "rank_sum"
OF_FEATURES = ("features", "means")  # arrays by which a score looks at features of the backbone
RANKS = "ranks."  # before the kind of a score, in the name of its values on the known validation crops
ELEMENTS = 1 << 24  # largest number of elements of a block of distances
MORE_CANDIDATES = 8  # candidates beyond the k nearest


class Crops(NamedTuple):
    """What scores look at of N crops."""

    distances: Floats  # (N, C) to the prototypes
    vectors: NDArray[Any]  # (N, D) embeddings
    features: NDArray[Any] | None = None  # (N, F) of the backbone, at unit length


class Kind(NamedTuple):
    """A kind of score."""

    text: str  # what it is, to complete "refused by its ..."
    of: Callable[[Crops, Arrays], Floats]  # score (N,)
    needs: str = "vectors"  # array that it is fitted on


def _nearest(crops: Crops, arrays: Arrays) -> Floats:
    return np.asarray(crops.distances.min(axis=1))


def _radius(crops: Crops, arrays: Arrays) -> Floats:
    return np.asarray((crops.distances - arrays["radii"]).min(axis=1))


def _knn(k: int, space: str) -> Callable[[Crops, Arrays], Floats]:
    """Distance to the k-th nearest reference crop, or to the farthest of fewer.

    Source: Sun, Ming, Zhu and Li, Out-of-Distribution Detection with Deep Nearest Neighbors, ICML 2022.
    """

    def distance(crops: Crops, arrays: Arrays) -> Floats:
        own, references = getattr(crops, space), arrays[space]
        last = references[nearest_rows(own, references, k)[:, -1]]
        return np.asarray(np.sqrt(np.square(own.astype(np.float64) - last).sum(axis=1)))

    return distance


def _mahalanobis(crops: Crops, arrays: Arrays) -> Floats:
    """Squared distance to the nearest class mean, under the covariance within classes.

    Source: Mueller and Hein, Mahalanobis++, ICML 2025: features at unit length.
    """
    assert crops.features is not None
    whitened = (crops.features - arrays["centre"]) @ arrays["whitening"]
    means = arrays["means"]  # (C, F), whitened
    squares = np.square(whitened).sum(axis=1)[:, None] - 2 * whitened @ means.T + np.square(means).sum(axis=1)
    return np.asarray(squares.min(axis=1).clip(min=0))


def _reject(crops: Crops, arrays: Arrays) -> Floats:
    """Log odds of the reject class, which order crops as its softmax probability does.

    The probability itself would be 1 for every crop with a gap above 37, and those would tie.
    """
    logits = crops.vectors.astype(np.float64) @ arrays["classifier_weight"].T + arrays["classifier_bias"]  # (N, C + 1)
    known, reject = logits[:, :-1], logits[:, -1]
    largest = known.max(axis=1)
    return np.asarray(reject - largest - np.log(np.exp(known - largest[:, None]).sum(axis=1)))


KINDS: dict[str, Kind] = {  # the simplest first
    "nearest": Kind("distance to the nearest prototype", _nearest),
    "radius": Kind("distance beyond the nearest ball of a class", _radius),
    "knn1": Kind("distance to the nearest reference crop", _knn(1, "vectors")),
    "knn5": Kind("distance to the 5th nearest reference crop", _knn(5, "vectors")),
    "knn1_features": Kind("distance to the nearest reference crop by features", _knn(1, "features"), "features"),
    "knn5_features": Kind("distance to the 5th nearest reference crop by features", _knn(5, "features"), "features"),
    "mahalanobis": Kind("Mahalanobis++ distance to the nearest class mean by features", _mahalanobis, "means"),
    "reject": Kind("log odds of the reject class", _reject, "classifier_weight"),
}


def text(kind: str) -> str:
    """What a score is, to complete "refused by its ...".

    Example:
        >>> text("knn5")
        'distance to the 5th nearest reference crop'
    """
    return "sum of ranks among known validation crops by all scores" if kind == RANK_SUM else KINDS[kind].text


def kinds(arrays: Arrays) -> list[str]:
    """Kinds of the scores that can be computed from fitted arrays, the simplest first; the rank sum last."""
    single = [name for name, kind in KINDS.items() if kind.needs in arrays]
    return single + [RANK_SUM] * any(name.startswith(RANKS) for name in arrays)


def needs_features(kind: str, arrays: Arrays) -> bool:
    """Whether a score, or one of those that the rank sum adds up, is of features.

    Example:
        >>> needs_features("mahalanobis", {}), needs_features("rank_sum", {"ranks.knn1": np.zeros(1)})
        (True, False)
        >>> needs_features("reject", {})
        False
    """
    names = [name for name in KINDS if RANKS + name in arrays] if kind == RANK_SUM else [kind]
    return any(KINDS[name].needs in OF_FEATURES for name in names)


def score(kind: str, crops: Crops, arrays: Arrays) -> Floats:
    """Score (N,) of crops, larger = more OOD; a crop's score does not depend on the others."""
    if kind != RANK_SUM:
        return KINDS[kind].of(crops, arrays)
    names = [name for name in KINDS if RANKS + name in arrays]
    return rank_sum({name: score(name, crops, arrays) for name in names}, arrays)


def rank_sum(scores: Mapping[str, Floats], arrays: Arrays) -> Floats:
    """Sum (N,) of the ranks of single scores (N,), by kind, among the known validation crops."""
    return np.asarray(sum(rank(arrays[RANKS + name], own) for name, own in scores.items()))


def rank(known: Floats, scores: Floats) -> Floats:
    """Share (N,) of known validation crops with a lower score, those with the same one counting half.

    Between two known crops it is interpolated: rounding of a score moves it little, where a plain rank would jump.

    Args:
        known: Scores (n,) of the known validation crops, ascending.
        scores: Scores (N,) of the same kind.

    Example:
        >>> rank(np.array([1.0, 2.0, 2.0, 3.0]), np.array([0.0, 1.0, 1.5, 2.0, 9.0]))
        array([0.125 , 0.125 , 0.3125, 0.5   , 0.875 ])
    """
    values, counts = np.unique(known, return_counts=True)
    return np.interp(scores, values, (counts.cumsum() - counts / 2) / len(known))


def ranked(known: Mapping[str, Floats]) -> dict[str, NDArray[Any]]:
    """What the rank sum needs: scores (n,) of known validation crops by kind, ascending, under `ranks.` and the kind.

    Example:
        >>> ranked({"radius": np.array([2.0, 1.0])})
        {'ranks.radius': array([1., 2.])}
    """
    return {RANKS + kind: np.sort(scores) for kind, scores in known.items()}


def nearest_rows(queries: NDArray[Any], references: NDArray[Any], k: int) -> NDArray[np.int64]:
    """Rows (N, k) of the nearest references (M, D) of each query (N, D).

    References at equal distances (as float32) keep their order. Candidates are chosen by a product in float64, and
    ordered by their exact differences.

    Example:
        >>> references = np.array([[0, 0], [3, 4], [0, 1]], np.float32)
        >>> nearest_rows(np.array([[0, 0.9]], np.float32), references, 2).tolist()
        [[2, 0]]
    """
    k = min(k, len(references))
    centre = references.astype(np.float64).mean(axis=0)
    right = references - centre
    norms = (right**2).sum(axis=1)
    count = min(k + MORE_CANDIDATES, len(references))
    nearest = np.empty((len(queries), k), np.int64)
    block = max(1, ELEMENTS // max(len(references), count * references.shape[1]))
    for start in range(0, len(queries), block):
        part = queries[start : start + block].astype(np.float64) - centre
        candidates = np.argpartition(norms - 2 * part @ right.T, count - 1, axis=1)[:, :count]
        candidates.sort(axis=1)
        squared = ((right[candidates] - part[:, None]) ** 2).sum(axis=2).astype(np.float32)
        order = np.argsort(squared, axis=1, kind="stable")[:, :k]
        nearest[start : start + block] = np.take_along_axis(candidates, order, axis=1)
    return nearest
