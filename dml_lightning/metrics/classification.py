"""Naming a class from distances, and how often the name is right when classes are unequal in size."""

import torch
from torch import Tensor

from dml_lightning.pairs.blocks import Vectors, as_labels, as_vectors, check_widths, row_blocks
from dml_lightning.pairs.distances import direct_distances
from dml_lightning.pairs.neighbours import nearest_neighbours


def commonest_labels(neighbour_labels: Tensor) -> Tensor:
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
    return commonest_labels(labels[nearest_neighbours(queries, targets, k, seed=seed).rows])


def class_means(embeddings: Vectors, labels: Vectors) -> tuple[Tensor, Tensor]:
    """The classes present (C,), ascending, and their mean embeddings (C, D) float64.

    Raises:
        ValueError: If there is no embedding.
    """
    vectors = as_vectors(embeddings)
    if len(vectors) == 0:
        raise ValueError("prototypes need at least one embedding, got none.")
    classes, inverse, sizes = torch.unique(as_labels(labels, vectors), return_inverse=True, return_counts=True)
    sums = vectors.new_zeros(len(classes), vectors.shape[1], dtype=torch.float64)
    sums.index_add_(0, inverse, vectors.double())
    return classes, sums / sizes[:, None]


def distances_to(embeddings: Vectors, points: Tensor) -> Tensor:
    """Distances (N, C) float64 of every embedding to a few points (C, D), from differences."""
    vectors = as_vectors(embeddings)
    check_widths(vectors, points)
    out = vectors.new_empty(len(vectors), len(points), dtype=torch.float64)
    for rows in row_blocks(len(vectors), len(points) + vectors.shape[1]):
        out[rows] = direct_distances(vectors[rows].double(), points.double())
    return out


def nearest_prototype_labels(queries: Vectors, references: Vectors, reference_labels: Vectors) -> Tensor:
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
