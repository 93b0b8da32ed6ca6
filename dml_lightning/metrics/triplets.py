"""How many triplets of a set still teach something, as shares of the valid ones."""

from collections.abc import Mapping

import torch
from torch import Tensor

from dml_lightning.losses.functional import triplet_counts
from dml_lightning.pairs.blocks import Vectors, as_labels, as_vectors

MOST_ANCHORS = 512


def fractions(counts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Counts as shares of the valid triplets, by log name; NaN where there are none."""
    valid = counts["valid"].double()
    names = ("active", "hard", "semihard", "easy")
    return {f"{name}_triplet_fraction": (counts[name].double() / valid).float() for name in names}


def triplet_fractions(
    embeddings: Vectors,
    labels: Vectors,
    margin: float = 0.2,
    *,
    squared: bool = False,
    most_anchors: int = MOST_ANCHORS,
) -> dict[str, float]:
    """Shares of active, hard, semi-hard and easy triplets among all valid ones; NaN where there are none.

    Args:
        embeddings: (N, D).
        labels: (N,) integers.
        margin: Of the count, in the unit of the distance.
        squared: Whether the count compares squared distances.
        most_anchors: Of more rows as many are drawn as anchors, with a fixed seed, against all rows.

    Raises:
        ValueError: If the shapes disagree or an embedding is not finite.

    Example:
        >>> import torch
        >>> points, labels = torch.tensor([[0.0], [0.1], [1.0], [9.0]]), torch.tensor([0, 0, 1, 1])
        >>> triplet_fractions(points, labels)["active_triplet_fraction"]  # the two of 8 with 1.0 as their anchor
        0.25
    """
    vectors = as_vectors(embeddings)
    classes = as_labels(labels, vectors)
    order = torch.randperm(len(vectors), generator=torch.Generator().manual_seed(0)).to(vectors.device)
    vectors, classes = vectors[order], classes[order]
    counts = triplet_counts(
        vectors[:most_anchors],
        classes[:most_anchors],
        margin,
        squared=squared,
        references=vectors,
        reference_labels=classes,
        offset=0,
    )
    return {name: float(value) for name, value in fractions(counts).items()}
