"""Numbers for JSON."""

import json
import math

import numpy as np
import pytest

from dml_lightning.report.parts import Section, floats


@pytest.mark.parametrize("kind", [list, np.array, lambda values: np.array(values, np.float32)])
def test_numbers_are_rounded_and_what_json_lacks_is_none(kind: type) -> None:
    result = floats(kind([0.123456, 2, math.nan, -math.inf]))
    assert result == [0.1235, 2.0, None, None]
    assert json.dumps(result, allow_nan=False) == "[0.1235, 2.0, null, null]"


def test_digits_are_an_option() -> None:
    assert floats([0.123456], digits=1) == [0.1]
    assert floats([]) == []


def test_a_section_is_a_heading_and_what_is_put_below_it() -> None:
    one, two = Section("a", "A"), Section("b", "B")
    assert (one.tables, one.figures, one.crops) == ((), (), {})
    assert one.crops is not two.crops
