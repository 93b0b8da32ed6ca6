"""Distances within and between classes, counted by hand on a line."""

import pytest

from dml_lightning.evaluation.distances import distance_values
from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.metrics.distances import distance_summary, gap_summary
from tests.evaluation.lines import laid_out

KNOWN = [([1.0], 0), ([3.0], 0), ([11.0], 1), ([15.0], 1)]


def test_by_hand() -> None:
    result = distance_values(laid_out({"reference": KNOWN, "known": KNOWN}), margin=1.0)
    assert result["intra_distance"] == pytest.approx((2 + 4) / 2)
    assert result["inter_distance"] == pytest.approx((10 + 14 + 8 + 12) / 4)
    assert result["inter_intra_ratio"] == pytest.approx(11 / 3)
    gaps = [10 - 2, 14 - 2, 8 - 2, 12 - 2, 10 - 4, 8 - 4, 14 - 4, 12 - 4]  # negative minus positive, eight triplets
    assert result["mean_gap"] == pytest.approx(sum(gaps) / 8 - 1)
    assert result["embedding_norm"] == pytest.approx(7.5)
    assert not any(name.startswith("novel_") for name in result)


def test_novel_species_stand_behind_their_prefix_and_unit_vectors_have_no_norm(split: Evidence) -> None:
    result = distance_values(split, margin=0.3)
    assert "embedding_norm" not in result
    for prefix, name in (("", "known"), ("novel_", "novel")):
        part = split.sets[name]  # type: ignore[index]
        pairs, gaps = distance_summary(part.vectors, part.labels), gap_summary(part.vectors, part.labels, 0.3)
        expected = (pairs.intra, pairs.inter, pairs.ratio, gaps.mean_gap, gaps.worst_gap, gaps.worst_anchor_gap)
        names = ("intra_distance", "inter_distance", "inter_intra_ratio", "mean_gap", "worst_gap", "worst_anchor_gap")
        assert [result[prefix + each] for each in names] == pytest.approx(list(expected), nan_ok=True)
    assert len(result) == 12
