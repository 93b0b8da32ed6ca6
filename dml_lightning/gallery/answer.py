"""What a gallery says of new crops: their names, their neighbours, and by each rule whether they are known."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from dml_lightning.gallery.gallery import Gallery
from dml_lightning.metrics.classification import distances_to, vote
from dml_lightning.pairs.blocks import to_numpy
from dml_lightning.pairs.neighbours import nearest_neighbours
from dml_lightning.types import Embeddings


class Answer(NamedTuple):
    """What the gallery says of N crops; rules by their name in the gallery."""

    label: list[str]  # by the arm's own rule, or the enrolled species in whose ball the crop lies
    label_prototype: list[str]  # of the nearest prototype
    label_radius: list[str]  # of the smallest distance less the radius of the class
    label_knn: list[str]
    distance: NDArray[np.float64]  # (N,) to the nearest prototype
    distance_trained: NDArray[np.float64]  # (N,) to the nearest of the classes trained on
    neighbours: list[str]  # nearest first, as "crop index:label", those of enrolled species "label/number:label"
    score: dict[str, NDArray[np.float64]]  # (N,) larger is more OOD
    known: dict[str, NDArray[np.bool_]]  # (N,) the decision: not refused
    p_value: NDArray[np.float64]  # (N,) under rule C for the classes trained on; NaN without rule C


def answer(gallery: Gallery, queries: Embeddings, k: int = 5) -> Answer:
    """Names and refusals of N embeddings.

    An enrolled species adds to what is known the crops within its ball of which its prototype is the nearest, and
    takes nothing from it: a crop that a rule knows without it stays known. All other crops are named and judged by
    the classes trained on, so enrolling a species makes no refused crop one of theirs.

    Args:
        gallery: Of the encoder that made the embeddings.
        queries: N embeddings, with logits if the arm classifies.
        k: Neighbours to vote and to name; fewer where the gallery holds fewer.
    """
    near = to_numpy(gallery.rules["A"].distances(queries.vectors))  # (N, C)
    new = _enrolled_distances(gallery, queries)  # (N, E)
    distances = np.concatenate([near, new], axis=1)
    nearest = distances.argmin(axis=1)
    excess = new - np.array([species.radius for species in gallery.enrolled])  # (N, E)
    beyond = _beyond(nearest - near.shape[1], excess)
    trained = near.argmin(axis=1)
    if gallery.prediction_rule == "softmax" and queries.logits is not None:
        trained = to_numpy(queries.logits).argmax(axis=1)
    own = np.where(beyond <= 0, nearest, trained)
    adjusted = np.concatenate([near - gallery.rules["A"].radii, excess], axis=1)  # (N, C + E)
    rows, voted = _neighbours(gallery, queries, k)
    score: dict[str, NDArray[np.float64]] = {}
    known: dict[str, NDArray[np.bool_]] = {}
    p_value = np.full(len(queries), np.nan)
    for rule, detector in gallery.rules.items():
        said = detector.predict(queries.vectors)
        threshold = detector.threshold.value
        score[rule], known[rule] = said.score, ~said.is_ood
        known[rule] |= beyond <= 0
        if np.isfinite(threshold):
            score[rule] = np.minimum(said.score, threshold + beyond)
        if rule == "C":
            p_value = said.p_value
    names = gallery.names
    return Answer(
        label=[names[i] for i in own.tolist()],
        label_prototype=[names[i] for i in nearest.tolist()],
        label_radius=[names[i] for i in adjusted.argmin(axis=1).tolist()],
        label_knn=[names[i] for i in voted.tolist()],
        distance=distances.min(axis=1),
        distance_trained=near.min(axis=1),
        neighbours=rows,
        score=score,
        known=known,
        p_value=p_value,
    )


def _beyond(enrolled: NDArray[np.int64], excess: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far each crop (N,) lies outside the ball of the enrolled species that it is nearest to.

    Args:
        enrolled: (N,) number of that species, negative where a class trained on is nearest: infinitely far.
        excess: (N, E) distances to the prototypes of the species less their radii.
    """
    beyond = np.full(len(enrolled), np.inf)
    mine = np.flatnonzero(enrolled >= 0)
    beyond[mine] = excess[mine, enrolled[mine]]
    return beyond


def _enrolled_distances(gallery: Gallery, queries: Embeddings) -> NDArray[np.float64]:
    if not gallery.enrolled:
        return np.empty((len(queries), 0))
    prototypes = torch.from_numpy(np.stack([species.prototype for species in gallery.enrolled]))
    return to_numpy(distances_to(queries.vectors, prototypes.to(queries.vectors.device)))


def _neighbours(gallery: Gallery, queries: Embeddings, k: int) -> tuple[list[str], NDArray[np.int64]]:
    """The k nearest stored crops of each query in words, and the class that most of them have."""
    stored = gallery.stored
    references = stored.vectors.to(queries.vectors.device)
    found = nearest_neighbours(queries.vectors, references, min(k, len(references))).rows.cpu()
    listed = [" ".join(stored.words[row] for row in own) for own in found.tolist()]
    voted: NDArray[np.int64] = vote(stored.labels[found]).numpy()
    return listed, voted
