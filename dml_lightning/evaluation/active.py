"""How many triplets still teach something."""

from collections.abc import Mapping

import torch
from torch import Tensor

from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.losses.functional import triplet_counts

MOST_ANCHORS = 512


def fractions(counts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Counts as shares of the valid triplets, by log name; NaN where there are none."""
    valid = counts["valid"].double()
    names = ("active", "hard", "semihard", "easy")
    return {f"{name}_triplet_fraction": (counts[name].double() / valid).float() for name in names}


def active_values(
    evidence: Evidence, margin: float = 0.2, squared: bool = False, most_anchors: int = MOST_ANCHORS
) -> dict[str, float]:
    """Shares of active, hard, semi-hard and easy triplets among all valid ones of the known crops.

    Args:
        evidence: Of one split.
        margin: Of the count, in embedding distance.
        squared: Whether the count compares squared distances.
        most_anchors: Of more crops as many are drawn as anchors, with a fixed seed, against all crops.
    """
    known = evidence.sets["known"]
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(known), generator=generator).to(known.labels.device)
    vectors, labels = known.vectors[order], known.labels[order]
    counts = triplet_counts(
        vectors[:most_anchors],
        labels[:most_anchors],
        margin,
        squared=squared,
        references=vectors,
        reference_labels=labels,
        offset=0,
    )
    return {name: float(value) for name, value in fractions(counts).items()}
