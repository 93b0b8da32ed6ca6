"""Intervals from five units on, single values and their range below, the same wherever a number is printed."""

import numpy as np
import pytest

from dml_lightning.metrics.bootstrap import FEWEST_UNITS
from dml_lightning.stats.estimates import Estimate, bracketed, cell_text, cells_note
from dml_lightning.stats.paired import t_interval


@pytest.mark.parametrize("units", [2, 4, 5, 9])
def test_five_units_make_an_interval(units: int) -> None:
    values = np.random.default_rng(units).normal(0.5, 0.1, units)
    found = Estimate.of(values, 1, 0.1)
    assert FEWEST_UNITS == 5
    assert (found.mean, found.sd) == pytest.approx((values.mean(), values.std(ddof=1)))
    assert (found.units, found.dropped, found.values) == (units, 1, tuple(values))
    ends = t_interval(values, 0.9) if units >= 5 else (values.min(), values.max())
    assert (found.low, found.high) == pytest.approx(tuple(map(float, ends)))
    assert found.is_range == (units < 5)


def test_units_that_share_data_have_a_range_however_many() -> None:
    found = Estimate.of(np.linspace(0, 1, 9), 0, 0.05, independent=False)
    assert (found.low, found.high, found.spread) == (0.0, 1.0, "range")
    assert found.text() == "0.500, range 0.000 to 1.000"  # nine values are not listed


def test_the_text_names_a_range_and_lists_few_values() -> None:
    few = Estimate.of(np.array([0.1, -0.1]), 0, 0.05)
    assert few.text("+") == "+0.000, range -0.100 to +0.100 (+0.100, -0.100)"
    many = Estimate.of(np.array([0.1, 0.2, 0.1, 0.2, 0.15]), 0, 0.05)
    assert many.text("+", (0.0, 1.0)) == "+0.150 [0.000, 1.000]"
    assert "values" not in many.numbers()
    assert many.numbers()["spread"] == "interval"


def test_cells_of_a_table_tell_intervals_from_ranges() -> None:
    values = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    cells = [cell_text(values), cell_text(values, independent=False), cell_text(values[:3])]
    low, high = map(float, t_interval(values))
    expected = [f"0.300 [{low:.3f}, {high:.3f}]", "0.300 (0.100 to 0.500)", "0.200 (0.100 to 0.300)"]
    assert cells == expected
    assert bracketed(0.2, 0.1, 0.3, "range") == cells[2]
    square, round_ = "Square brackets: 95 % interval over folds.", "Round brackets: range over folds, where"
    assert cells_note(cells[:1], "fold") == square
    both = cells_note(cells, "fold")
    assert both.startswith(f"{square} {round_}")
    assert cells_note(["0.100", "–"], "fold") == ""
