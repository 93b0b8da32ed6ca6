"""Classification by nearest neighbours and prototypes, and balanced accuracy."""

import torch
from torch import Tensor

from dml_lightning.pairs.blocks import Vectors, as_labels, as_vectors, check_integers
from dml_lightning.pairs.distances import distances_to
from dml_lightning.pairs.neighbours import nearest_neighbours


def commonest_labels(neighbour_labels: Tensor) -> Tensor:
    """Most common label (Q,) in each row of neighbours' labels (Q, k), nearest first; ties go to the nearer neighbour.

    Example:
        >>> commonest_labels(torch.tensor([[3, 1, 1], [2, 1, 0]]))
        tensor([1, 2])
    """
    votes = torch.zeros_like(neighbour_labels)
    for column in neighbour_labels.T:
        votes += neighbour_labels == column[:, None]
    return neighbour_labels.gather(1, votes.argmax(1, keepdim=True))[:, 0]  # the first of equals


def knn_labels(
    queries: Vectors, references: Vectors, reference_labels: Vectors, k: int = 1, *, seed: int = 0
) -> Tensor:
    """Predict the most common class among the `k` nearest references; ties go to the nearer reference.

    Args:
        queries: Embeddings (Q, D).
        references: Embeddings (M, D).
        reference_labels: Labels (M,), integers.
        k: Number of neighbours, from 1 to M.
        seed: Seed of the order of equal distances.

    Returns:
        Labels (Q,) int64.

    Raises:
        ValueError: If k is out of range, or shapes or embedding sizes disagree.

    Example:
        >>> knn_labels(torch.tensor([[0.1]]), torch.tensor([[0.0], [1.0], [1.2]]), torch.tensor([4, 7, 7]), k=3)
        tensor([7])
    """
    targets = as_vectors(references, "references")
    labels = as_labels(reference_labels, targets, "reference_labels")
    return commonest_labels(labels[nearest_neighbours(queries, targets, k, seed=seed).rows])


def class_means(embeddings: Vectors, labels: Vectors) -> tuple[Tensor, Tensor]:
    """The classes present (C,), ascending, and their mean embeddings (C, D) float64.

    Raises:
        ValueError: If there is no embedding.

    Example:
        >>> classes, means = class_means(torch.tensor([[0.0], [1.0], [5.0]]), torch.tensor([2, 2, 4]))
        >>> classes, means[:, 0]
        (tensor([2, 4]), tensor([0.5000, 5.0000], dtype=torch.float64))
    """
    vectors = as_vectors(embeddings)
    if len(vectors) == 0:
        raise ValueError("prototypes need at least one embedding, got none.")
    classes, inverse, sizes = torch.unique(as_labels(labels, vectors), return_inverse=True, return_counts=True)
    sums = vectors.new_zeros(len(classes), vectors.shape[1], dtype=torch.float64)
    sums.index_add_(0, inverse, vectors.double())
    return classes, sums / sizes[:, None]


def nearest_prototype_labels(queries: Vectors, references: Vectors, reference_labels: Vectors) -> Tensor:
    """Predict the class with the nearest mean embedding; ties go to the smallest label.

    Args:
        queries: Embeddings (Q, D).
        references: Embeddings (M, D).
        reference_labels: Labels (M,), integers.

    Returns:
        Labels (Q,) int64.

    Raises:
        ValueError: If there is no reference, or shapes or embedding sizes disagree.

    Example:
        >>> points, labels = torch.tensor([[0.0], [1.0], [5.0]]), torch.tensor([2, 2, 4])
        >>> nearest_prototype_labels(torch.tensor([[2.0], [4.0]]), points, labels)
        tensor([2, 4])
    """
    vectors = as_vectors(queries, "queries")
    classes, means = class_means(references, reference_labels)
    return classes[distances_to(vectors, means).argmin(1)]


def balanced_accuracy(labels: Vectors, predicted: Vectors) -> float:
    """Mean over the classes in `labels` of the share predicted right; NaN without samples.

    Args:
        labels: True labels (N,), integers; the first argument, as in scikit-learn.
        predicted: Predicted labels (N,), integers.

    Raises:
        ValueError: If the two differ in length, or are not integers.

    Example:
        >>> balanced_accuracy(torch.tensor([0, 0, 0, 1]), torch.tensor([0, 0, 0, 0]))
        0.5
    """
    truth = torch.as_tensor(labels)
    check_integers(truth)
    right = as_labels(predicted, truth, "predicted") == truth
    _, inverse, sizes = torch.unique(truth, return_inverse=True, return_counts=True)
    hits = torch.zeros(len(sizes), dtype=torch.float64, device=truth.device)
    hits.index_add_(0, inverse, right.double())
    return float((hits / sizes).mean())
