"""Retrieval among the crops of a set, by hand on a line."""

import pytest

from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.evaluation.retrieval import retrieval_values
from dml_lightning.metrics.retrieval import retrieval_summary
from tests.evaluation.lines import laid_out


def test_by_hand() -> None:
    """Of the crop at 4 the nearest is of the other class, then one of its own."""
    known = [([0.0], 0), ([1.0], 0), ([4.0], 0), ([6.0], 1), ([7.5], 1)]
    result = retrieval_values(laid_out({"reference": known, "known": known}))
    assert result["recall_at_1"] == pytest.approx(4 / 5)
    assert result["r_precision"] == pytest.approx((1 + 1 + 1 / 2 + 1 + 1) / 5)
    # the crop at 4 meets 6 first and then 1: a precision of 1/2 at the second of two
    assert result["map_at_r"] == pytest.approx((1 + 1 + 1 / 4 + 1 + 1) / 5)
    assert set(result) == {"recall_at_1", "r_precision", "map_at_r"}


def test_novel_species_are_searched_among_themselves(split: Evidence) -> None:
    result = retrieval_values(split)
    novel = split.sets["novel"]
    alone = retrieval_summary(novel.vectors, novel.labels)
    assert result["novel_map_at_r"] == alone.map_at_r
    assert result["novel_recall_at_1"] == alone.recall_at[1] == 1  # there is one novel class
    assert len(result) == 6
