"""Naming a class from distances, and how often the name is right when classes are unequal in size."""

from typing import NamedTuple

import torch
from torch import Tensor

from dml_lightning.metrics.blocks import (
    PairwiseDistances,
    Vectors,
    as_labels,
    as_vectors,
    check_widths,
    direct_distances,
    row_blocks,
)
from dml_lightning.metrics.ranking import halves, smallest


class Neighbours(NamedTuple):
    """The nearest references of each query, nearest first."""

    distances: Tensor  # (Q, k) float64
    rows: Tensor  # (Q, k) int64, into the references


def nearest_neighbours(
    queries: Vectors, references: Vectors, k: int = 1, *, seed: int = 0
) -> Neighbours:
    """Find the `k` nearest references of every query, exactly; equal distances in a random, seeded order.

    Args:
        queries: (Q, D).
        references: (M, D).
        k: From 1 to M.
        seed: Orders references at equal distance (as float32), the same for every query.

    Raises:
        ValueError: If k is out of range, or the embedding sizes disagree.
    """
    vectors, targets = as_vectors(queries, "queries"), as_vectors(references, "references")
    if not 1 <= k <= len(targets):
        raise ValueError(
            f"k must lie between 1 and the number of references, {len(targets)}, got {k}."
        )
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(seed))
    order = order.to(targets.device)
    columns = torch.arange(len(targets), dtype=torch.int32, device=targets.device)
    distances = vectors.new_empty(len(vectors), k, dtype=torch.float64)
    found = vectors.new_empty(len(vectors), k, dtype=torch.int64)
    for rows, block in PairwiseDistances(vectors, targets[order]).blocks():
        keys, lower = halves(block)
        lower[:] = columns
        nearest = smallest(keys, k) & 0xFFFFFFFF  # (rows, k) columns
        distances[rows] = block.gather(1, nearest).sqrt()
        found[rows] = order[nearest]
    return Neighbours(distances, found)


def vote(neighbour_labels: Tensor) -> Tensor:
    """The commonest label of each row (Q, k), of equally common ones that of the nearest neighbour."""
    votes = torch.zeros_like(neighbour_labels)
    for column in neighbour_labels.T:
        votes += neighbour_labels == column[:, None]
    return neighbour_labels.gather(1, votes.argmax(1, keepdim=True))[:, 0]  # the first of equals


def knn_labels(
    queries: Vectors, references: Vectors, reference_labels: Vectors, k: int = 1, *, seed: int = 0
) -> Tensor:
    """Predict the commonest class among the `k` nearest references, of equally common ones the nearest's.

    Returns:
        (Q,) int64.
    """
    targets = as_vectors(references, "references")
    labels = as_labels(reference_labels, targets, "reference_labels")
    return vote(labels[nearest_neighbours(queries, targets, k, seed=seed).rows])


def class_means(embeddings: Vectors, labels: Vectors) -> tuple[Tensor, Tensor]:
    """The classes present (C,), ascending, and their mean embeddings (C, D) float64.

    Raises:
        ValueError: If there is no embedding.
    """
    vectors = as_vectors(embeddings)
    if len(vectors) == 0:
        raise ValueError("prototypes need at least one embedding, got none.")
    classes, inverse, sizes = torch.unique(
        as_labels(labels, vectors), return_inverse=True, return_counts=True
    )
    sums = vectors.new_zeros(len(classes), vectors.shape[1], dtype=torch.float64)
    sums.index_add_(0, inverse, vectors.double())
    return classes, sums / sizes[:, None]


def distances_to(embeddings: Vectors, points: Tensor) -> Tensor:
    """Distances (N, C) float64 of every embedding to a few points (C, D), from differences."""
    vectors = as_vectors(embeddings)
    check_widths(vectors, points)
    out = vectors.new_empty(len(vectors), len(points), dtype=torch.float64)
    for rows in row_blocks(len(vectors), len(points) + vectors.shape[1]):
        out[rows] = direct_distances(vectors[rows], points)
    return out


def nearest_prototype_labels(
    queries: Vectors, references: Vectors, reference_labels: Vectors
) -> Tensor:
    """Predict the class with the nearest mean embedding, of equally near ones the smallest label.

    Returns:
        (Q,) int64.
    """
    vectors = as_vectors(queries, "queries")
    classes, means = class_means(references, reference_labels)
    return classes[distances_to(vectors, means).argmin(1)]


def balanced_accuracy(labels: Vectors, predicted: Vectors) -> float:
    """Mean over the classes in `labels` of the share predicted right; NaN without samples.

    Args:
        labels: (N,) true classes, integers; first, as in scikit-learn.
        predicted: (N,) integers.

    Raises:
        ValueError: If the two differ in length.
    """
    truth = torch.as_tensor(labels)
    right = as_labels(predicted, truth, "predicted") == truth
    _, inverse, sizes = torch.unique(truth, return_inverse=True, return_counts=True)
    hits = torch.zeros(len(sizes), dtype=torch.float64, device=truth.device)
    hits.index_add_(0, inverse, right.double())
    return float((hits / sizes).mean())
