"""Shares of triplets, against a loop over the crops."""

import math
from dataclasses import replace

import pytest
import torch

from dml_lightning.evaluation.active import active_values
from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.metrics.triplets import fractions
from tests.evaluation.lines import laid_out


def slow(evidence: Evidence, margin: float, squared: bool) -> dict[str, float]:
    known = evidence.sets["known"]
    d = (known.vectors[:, None] - known.vectors).double().norm(dim=2)
    d = d.square() if squared else d
    same = known.labels[:, None] == known.labels
    gaps = [
        float(d[a, n] - d[a, p])
        for a in range(len(known))
        for p in range(len(known))
        for n in range(len(known))
        if a != p and same[a, p] and not same[a, n]
    ]
    kinds = {
        "active": sum(gap < margin for gap in gaps),
        "hard": sum(gap < 0 for gap in gaps),
        "semihard": sum(0 <= gap < margin for gap in gaps),
        "easy": sum(gap >= margin for gap in gaps),
    }
    return {f"{name}_triplet_fraction": count / len(gaps) for name, count in kinds.items()}


@pytest.mark.parametrize(("margin", "squared"), [(0.2, False), (1.0, False), (0.5, True)])
def test_shares_of_all_valid_triplets(split: Evidence, margin: float, squared: bool) -> None:
    result = active_values(split, margin, squared)
    assert result == pytest.approx(slow(split, margin, squared), abs=1e-6)
    assert result["active_triplet_fraction"] == pytest.approx(
        result["hard_triplet_fraction"] + result["semihard_triplet_fraction"]
    )


def test_of_more_crops_as_many_are_drawn_as_anchors(split: Evidence) -> None:
    """The drawn anchors meet all crops, and are the same on every call."""
    few = active_values(split, most_anchors=7)
    assert few == active_values(split, most_anchors=7)
    assert few != active_values(split)
    assert active_values(split, most_anchors=45) == active_values(split)
    order = torch.randperm(45, generator=torch.Generator().manual_seed(0))
    known = split.sets["known"]
    lone = order[:1]
    kept = torch.cat([lone, torch.tensor([row for row in range(45) if row != lone])])
    sets = {**split.sets, "known": replace(known, vectors=known.vectors[kept], labels=known.labels[kept])}
    whole = slow_of_first(replace(split, sets=sets), 0.2)
    assert active_values(split, most_anchors=1)["active_triplet_fraction"] == pytest.approx(whole, abs=1e-6)


def slow_of_first(evidence: Evidence, margin: float) -> float:
    """Share of active triplets of the first crop alone."""
    known = evidence.sets["known"]
    d = (known.vectors - known.vectors[0]).double().norm(dim=1)
    same = known.labels == known.labels[0]
    positives, negatives = d[same][1:], d[~same]
    return float((negatives - positives[:, None] < margin).double().mean())


def test_without_a_triplet_shares_are_nan() -> None:
    alone = laid_out({"known": [([0.0], 0), ([1.0], 0)], "reference": [([0.0], 0)]})
    assert all(math.isnan(value) for value in active_values(alone).values())


def test_fractions_are_of_the_valid_ones() -> None:
    counts = {"valid": 8, "active": 6, "hard": 2, "semihard": 4, "easy": 2}
    result = fractions({name: torch.tensor(count) for name, count in counts.items()})
    assert {name: float(value) for name, value in result.items()} == {
        "active_triplet_fraction": 0.75,
        "hard_triplet_fraction": 0.25,
        "semihard_triplet_fraction": 0.5,
        "easy_triplet_fraction": 0.25,
    }
