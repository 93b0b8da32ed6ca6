"""Curves of training, short and long."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dml_lightning.report.inputs import read_inputs
from dml_lightning.report.training import training_section


@pytest.mark.parametrize(("logged", "drawn"), [(300, 300), (10_000, 300)])
def test_long_curves_are_thinned_from_end_to_end_and_say_so(
    run_of: Callable[..., Path], logged: int, drawn: int
) -> None:
    run = run_of("triplet")
    values = np.linspace(1, 0, logged)
    rows = [f"{10 * step},{value}" for step, value in enumerate(values)]
    text = "\n".join(["step,train/active_triplet_fraction", *rows])
    (run / "csv" / "fit" / "metrics.csv").write_text(text)
    section = training_section(read_inputs([run]), {"triplet": {}})
    assert section is not None
    (curve,) = section.figures[0].data
    assert len(curve["x"]) == len(curve["y"]) == drawn
    assert (curve["x"][0], curve["y"][0]) == (0, 1)
    assert (curve["x"][-1], curve["y"][-1]) == (10 * (logged - 1), 0)
    assert section.figures[0].table.rows == [["triplet", 1.0, 0.0]]
    assert ("300 values are drawn" in section.paragraphs[0]) == (drawn < logged)
