"""Shares of active, hard, semi-hard and easy triplets among the valid triplets of a set."""

from collections.abc import Mapping

import torch
from torch import Tensor

from dml_lightning.losses.functional import triplet_counts
from dml_lightning.pairs.blocks import Vectors, as_labels, as_vectors

MOST_ANCHORS = 512


def fractions(counts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Counts as shares of the valid triplets, by log name; NaN if there are none.

    Args:
        counts: Counts of valid, active, hard, semihard and easy triplets, scalars.

    Example:
        >>> counts = dict(zip(("valid", "active", "hard", "semihard", "easy"), torch.tensor([8, 2, 2, 0, 6])))
        >>> fractions(counts)["active_triplet_fraction"]
        tensor(0.2500)
    """
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
    """Shares of active, hard, semi-hard and easy triplets among all valid ones; NaN if there are none.

    Args:
        embeddings: Embeddings (N, D).
        labels: Labels (N,), integers.
        margin: Margin in the unit of the (squared) distance.
        squared: Whether distances are squared.
        most_anchors: Most rows that are anchors: of more, that many are drawn with a fixed seed, against all rows.

    Raises:
        ValueError: If the shapes disagree or an embedding is not finite.

    Example:
        >>> import torch
        >>> points, labels = torch.tensor([[0.0], [0.1], [1.0], [9.0]]), torch.tensor([0, 0, 1, 1])
        >>> triplet_fractions(points, labels)["active_triplet_fraction"]  # 2 of 8, with 1.0 as anchor
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
