"""Answers of a gallery to new crops: names, nearest stored crops, and by each rule whether a crop is known."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from dml_lightning.gallery.gallery import Gallery
from dml_lightning.openset.judge import gaps, judge, named_sets, species_sets, vote
from dml_lightning.openset.sets import SetThresholds
from dml_lightning.pairs.blocks import to_numpy
from dml_lightning.pairs.distances import distances_to
from dml_lightning.pairs.neighbours import nearest_neighbours
from dml_lightning.types import Embeddings


class Answer(NamedTuple):
    """Names, scores and decisions of N crops; rules by their name in the gallery."""

    label: list[str]  # by the arm's own rule, or the enrolled species in whose ball the crop lies
    label_prototype: list[str]  # of the nearest prototype
    label_radius: list[str]  # of the smallest distance minus the radius of the class
    label_knn: list[str]  # by vote of the nearest stored crops
    distance: NDArray[np.float64]  # (N,) to the nearest prototype
    distance_trained: NDArray[np.float64]  # (N,) to the nearest of the classes trained on
    neighbours: list[list[str]]  # stored crops, nearest first: their index, or "species/number" of an enrolled one
    neighbour_labels: list[list[str]]  # their classes
    score: dict[str, NDArray[np.float64]]  # (N,) larger is more OOD
    known: dict[str, NDArray[np.bool_]]  # (N,) the decision: not refused
    p_value: NDArray[np.float64]  # (N,) under rule C for the classes trained on; NaN without rule C
    species_set: list[list[str]]  # (N,) species that may be the true one, the likeliest first; empty without thresholds


def answer(gallery: Gallery, queries: Embeddings, k: int = 5, sets: SetThresholds | None = None) -> Answer:
    """Name N crops and decide by each rule whether they are known, by `openset.judge`.

    Args:
        gallery: Gallery of the encoder that made the embeddings.
        queries: Embeddings of N crops, with logits if the arm classifies.
        k: Number of nearest stored crops that vote and are listed; all where the gallery has fewer.
        sets: Thresholds of the sets of species, if they are wanted.

    Raises:
        ValueError: If sets of an arm that classifies are wanted for crops without logits, which they are made of.
    """
    if sets is not None and gallery.prediction_rule == "softmax" and queries.logits is None:
        raise ValueError("sets of species of an arm that classifies are made of logits, and the crops have none.")
    rows = _neighbours(gallery, queries, k)  # (N, k)
    stored, names = gallery.stored, np.array(gallery.names)
    labels = stored.labels.numpy()[rows]
    classifies = gallery.prediction_rule == "softmax" and queries.logits is not None
    logits = to_numpy(queries.logits) if classifies and queries.logits is not None else None
    trained = to_numpy(gallery.prototypes.distances(queries.vectors))
    enrolled = _enrolled_distances(gallery, queries)
    radii = np.array([species.radius for species in gallery.enrolled])
    judged = judge(
        trained,
        enrolled,
        gallery.prototypes.radii,
        radii,
        gallery.rules,
        gallery.thresholds["C"].scores if "C" in gallery.thresholds else None,
        None if logits is None else logits.argmax(axis=1),
        gallery.scores(queries) if any(rule.given for rule in gallery.rules.values()) else None,
    )
    behind = gaps(trained, logits)
    return Answer(
        label=names[judged.name].tolist(),
        label_prototype=names[judged.nearest].tolist(),
        label_radius=names[judged.adjusted].tolist(),
        label_knn=names[vote(labels)].tolist(),
        distance=judged.distance,
        distance_trained=judged.distance_trained,
        neighbours=[[stored.crops[row] for row in own] for own in rows.tolist()],
        neighbour_labels=names[labels].tolist(),
        score=judged.score,
        known=judged.known,
        p_value=judged.p_value,
        species_set=[[] for _ in behind]
        if sets is None
        else named_sets(behind, species_sets(behind, sets.values, enrolled - radii), gallery.names),
    )


def _enrolled_distances(gallery: Gallery, queries: Embeddings) -> NDArray[np.float64]:
    if not gallery.enrolled:
        return np.empty((len(queries), 0))
    prototypes = torch.from_numpy(np.stack([species.prototype for species in gallery.enrolled]))
    return to_numpy(distances_to(queries.vectors, prototypes.to(queries.vectors.device)))


def _neighbours(gallery: Gallery, queries: Embeddings, k: int) -> NDArray[np.int64]:
    """Rows (N, k) of the nearest stored crops of each query."""
    references = gallery.stored.vectors.to(queries.vectors.device)
    return to_numpy(nearest_neighbours(queries.vectors, references, min(k, len(references))).rows)
