"""What a gallery says of new crops: their names, their neighbours, and by each rule whether they are known."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from dml_lightning.metrics.blocks import to_numpy
from dml_lightning.metrics.classification import distances_to, vote
from dml_lightning.metrics.neighbours import nearest_neighbours
from dml_lightning.openset.gallery import Gallery
from dml_lightning.types import Embeddings


class Answer(NamedTuple):
    """What the gallery says of N crops; rules by their name in the gallery."""

    label: list[str]  # by the arm's own rule, or an enrolled species whose prototype is nearest
    label_prototype: list[str]
    label_knn: list[str]
    distance: NDArray[np.float64]  # (N,) to the nearest prototype
    neighbours: list[
        str
    ]  # nearest first, as "crop index:label", those of enrolled species "label/number:label"
    score: dict[str, NDArray[np.float64]]  # (N,) larger is more OOD
    known: dict[str, NDArray[np.bool_]]  # (N,) the decision: not refused
    p_value: NDArray[np.float64]  # (N,) under rule C for the classes trained on; NaN without rule C


def answer(gallery: Gallery, queries: Embeddings, k: int = 5) -> Answer:
    """Names and refusals of N embeddings.

    An enrolled species adds its ball to what is known and takes nothing from it: a crop that a rule knows without
    it stays known, and keeps its name unless the new prototype is the nearest.

    Args:
        gallery: Of the encoder that made the embeddings.
        queries: N embeddings, with logits if the arm classifies.
        k: Neighbours to vote and to name; fewer where the gallery holds fewer.
    """
    near = to_numpy(gallery.rules["A"].distances(queries.vectors))  # (N, C)
    new = _enrolled_distances(gallery, queries)  # (N, E)
    distances = np.concatenate([near, new], axis=1)
    nearest = distances.argmin(axis=1)
    own = nearest
    if gallery.prediction_rule == "softmax" and queries.logits is not None:
        own = np.where(nearest < near.shape[1], to_numpy(queries.logits).argmax(axis=1), nearest)
    rows, voted = _neighbours(gallery, queries, k)
    excess = new - np.array([species.radius for species in gallery.enrolled])  # (N, E)
    score: dict[str, NDArray[np.float64]] = {}
    known: dict[str, NDArray[np.bool_]] = {}
    p_value = np.full(len(queries), np.nan)
    for rule, detector in gallery.rules.items():
        said = detector.predict(queries.vectors)
        threshold = detector.threshold.value
        score[rule], known[rule] = said.score, ~said.is_ood
        if gallery.enrolled:
            if np.isfinite(threshold):
                score[rule] = np.minimum(said.score, threshold + excess.min(axis=1))
            known[rule] |= (excess <= 0).any(axis=1)
        if rule == "C":
            p_value = said.p_value
    names = gallery.names
    return Answer(
        label=[names[i] for i in own.tolist()],
        label_prototype=[names[i] for i in nearest.tolist()],
        label_knn=[names[i] for i in voted.tolist()],
        distance=distances.min(axis=1),
        neighbours=rows,
        score=score,
        known=known,
        p_value=p_value,
    )


def _enrolled_distances(gallery: Gallery, queries: Embeddings) -> NDArray[np.float64]:
    if not gallery.enrolled:
        return np.empty((len(queries), 0))
    prototypes = torch.from_numpy(np.stack([species.prototype for species in gallery.enrolled]))
    return to_numpy(distances_to(queries.vectors, prototypes.to(queries.vectors.device)))


def _neighbours(
    gallery: Gallery, queries: Embeddings, k: int
) -> tuple[list[str], NDArray[np.int64]]:
    """The k nearest stored crops of each query in words, and the class that most of them have."""
    device, known = queries.vectors.device, len(gallery.class_names)
    vectors, labels = [gallery.reference.vectors], [gallery.reference.labels]
    names = gallery.class_names
    words = [
        f"{index}:{names[label]}"
        for index, label in zip(
            gallery.reference.index.tolist(), gallery.reference.labels.tolist(), strict=True
        )
    ]
    for number, species in enumerate(gallery.enrolled):
        vectors.append(torch.from_numpy(species.vectors))
        labels.append(torch.full((len(species.vectors),), known + number))
        words += [f"{species.label}/{i}:{species.label}" for i in range(len(species.vectors))]
    references = torch.cat(vectors).to(device)
    found = nearest_neighbours(queries.vectors, references, min(k, len(references))).rows.cpu()
    listed = [" ".join(words[row] for row in own) for own in found.tolist()]
    voted: NDArray[np.int64] = vote(torch.cat(labels)[found]).numpy()
    return listed, voted
