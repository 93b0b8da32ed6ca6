"""Which conditions of the separation theorem hold, counted by hand."""

import math

import numpy as np
import pytest

from dml_lightning.openset import assumption_report
from tests.openset.balls import balls


def test_assumption_report_counts() -> None:
    detector = balls(centres=[[0.0], [6.0], [20.0]], radii=[1.0, 4.0, 2.0])
    known, labels = np.array([[0.5], [1.5], [3.0], [20.0]]), np.array([0, 0, 1, 2])
    report = assumption_report(detector, known, labels, np.array([[1.5], [12.0], [30.0]]))
    assert report.known_inside == 0.75
    assert report.known_inside_by_class == {0: 0.5, 1: 1.0, 2: 1.0}
    assert report.pairs_disjoint == 1.0
    assert report.smallest_gap == pytest.approx(1.0)
    assert report.median_gap == pytest.approx(8.0)
    assert report.closest_pair == (0, 1)
    assert report.ood_outside == 1.0
    assert not report.separation_holds
    assert report.known_excess == pytest.approx(0.5)  # 1.5 from the prototype at 0, whose radius is 1
    assert report.ood_clearance == pytest.approx(0.5)
    assert report.radius_ratio == pytest.approx(4.0)
    inner = assumption_report(detector, known[[0, 2]], labels[[0, 2]], np.array([[0.2], [12.0]]))
    assert inner.known_excess == pytest.approx(-0.5)
    assert inner.ood_clearance == pytest.approx(-0.8)
    assert inner.ood_outside == 0.5
    assert not inner.separation_holds
    touching = balls(centres=[[0.0], [5.0]], radii=[1.0, 4.0])
    assert assumption_report(touching, known[:2], labels[:2], known[:0]).pairs_disjoint == 0.0
    alone = balls(centres=[[0.0]], radii=[1.0])
    empty = assumption_report(alone, known[:2], labels[:2], known[:0])
    assert empty.closest_pair is None
    assert math.isnan(empty.ood_outside)
    assert math.isnan(empty.smallest_gap)
    assert math.isnan(empty.ood_clearance)
    assert not empty.separation_holds  # nothing was seen outside
    nobody = assumption_report(alone, known[:0], labels[:0], known[:2])
    assert math.isnan(nobody.known_excess)
    assert math.isnan(nobody.known_inside)
    assert nobody.known_inside_by_class == {}


def test_assumption_report_in_a_log() -> None:
    detector = balls(centres=[[0.0], [6.0]], radii=[1.0, 4.0])
    report = assumption_report(detector, np.array([[0.5]]), np.array([0]), np.array([[30.0]]))
    values = report.values()
    assert values["separation_holds"] == 1.0
    assert values["pairs_disjoint"] == 1.0
    assert values["smallest_gap"] == pytest.approx(1.0)
    assert all(isinstance(value, float) for value in values.values())
    assert set(values) >= {"known_inside", "known_excess", "ood_outside", "ood_clearance"}
    assert not any("class" in name for name in values)


@pytest.mark.parametrize(("radii", "ratio"), [([2.0, 2.0], 1.0), ([0.0, 0.0], 1.0), ([0.0, 1.0], math.inf)])
def test_ratio_of_the_radii(radii: list[float], ratio: float) -> None:
    detector = balls(centres=[[0.0], [9.0]], radii=radii)
    x, y = np.array([[0.0]]), np.array([0])
    assert assumption_report(detector, x, y, x).radius_ratio == pytest.approx(ratio)
