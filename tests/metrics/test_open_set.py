"""Curves of naming with refusal, by their definitions threshold by threshold."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dml_lightning.metrics.open_set import aurc, oscr, oscr_curve, risk_coverage_curve

samples = st.lists(st.tuples(st.integers(-3, 3).map(float), st.booleans()), min_size=1, max_size=25)
unknown = st.lists(st.integers(-3, 4).map(float), min_size=1, max_size=20)


def columns(rows: list[tuple[float, bool]]) -> tuple[Any, Any]:
    return np.array([row[0] for row in rows]), np.array([row[1] for row in rows])


@given(samples, unknown)
def test_oscr_by_its_definition(known: list[tuple[float, bool]], others: list[float]) -> None:
    """Dhamija et al. 2018, section 4.1, with a distance: named where it is at most the threshold."""
    scores, right = columns(known)
    curve = oscr_curve(scores, right, np.array(others))
    expected = [(0.0, 0.0)]
    for threshold in sorted({*scores.tolist(), *others}):
        correct = sum(score <= threshold and good for score, good in known) / len(known)
        false = sum(score <= threshold for score in others) / len(others)
        expected.append((correct, false))
    assert np.stack([curve.correct, curve.false], 1) == pytest.approx(np.array(expected))
    area = sum((x1 - x0) * (y0 + y1) / 2 for (y0, x0), (y1, x1) in pairwise(expected))
    assert oscr(scores, right, np.array(others)) == pytest.approx(area, abs=1e-12)
    assert area <= right.mean() + 1e-12


@given(samples)
def test_risk_and_coverage_by_their_definition(rows: list[tuple[float, bool]]) -> None:
    """Geifman and El-Yaniv 2017: risk among the samples that are named; their area of 2019, a sample at a time."""
    scores, wrong = columns(rows)
    curve = risk_coverage_curve(scores, wrong)
    risks = {}
    for position, threshold in enumerate(sorted(set(scores.tolist()))):
        named = [bad for score, bad in rows if score <= threshold]
        risks[threshold] = sum(named) / len(named)
        assert curve.thresholds[position] == threshold
        assert curve.coverage[position] == pytest.approx(len(named) / len(rows))
        assert curve.risk[position] == pytest.approx(risks[threshold])
    assert len(curve.risk) == len(risks)
    assert aurc(scores, wrong) == pytest.approx(sum(risks[score] for score, _ in rows) / len(rows), abs=1e-12)


def test_ends_of_the_areas() -> None:
    known, right, others = np.arange(4.0), np.array([True, True, False, True]), np.array([9.0, 8.0])
    assert oscr(known, right, others) == 0.75  # all unknown samples score higher: the accuracy
    assert oscr(known, right, -others) == 0
    assert oscr(known, ~right & False, others) == 0
    assert oscr(0 * known, right, 0 * others) == 0.375  # a constant score: half of it
    assert aurc(known, right & False) == 0
    assert aurc(0 * known, ~right) == 0.25
    assert aurc(known, ~right) == pytest.approx((0 + 0 + 1 / 3 + 1 / 4) / 4)


def test_a_side_without_samples_is_undefined() -> None:
    none, one, yes = np.empty(0), np.zeros(1), np.array([True])
    assert np.isnan(oscr(none, yes[:0], one))
    assert np.isnan(oscr(one, yes, none))
    assert np.isnan(aurc(none, yes[:0]))
    assert np.isnan(oscr_curve(one, yes, none).false).all()


def test_tensors_are_taken_too_and_masks_are_checked() -> None:
    scores, right = torch.tensor([0.0, 1.0]), torch.tensor([True, False])
    assert oscr(scores, right, torch.tensor([2.0])) == 0.5
    for wrong in (torch.tensor([1, 0]), torch.tensor([True]), np.array(["a", "b"])):
        with pytest.raises(ValueError, match=r"right must be booleans of shape \(2,\), got"):
            oscr(scores, wrong, scores)
        with pytest.raises(ValueError, match=r"wrong must be booleans of shape \(2,\), got"):
            aurc(scores, wrong)
    with pytest.raises(ValueError, match="known_scores must not be NaN"):
        oscr_curve(torch.tensor([0.0, torch.nan]), right, scores)
