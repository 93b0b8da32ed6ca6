"""The notebook of the first hour runs from its first cell to its last."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure

from dml_lightning.models import TripletModule
from tests import ROOT

NOTEBOOK = ROOT / "docs" / "notebooks" / "first_hour.py"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Fewer than .* training crops")
def test_the_first_hour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = NOTEBOOK.read_text(encoding="utf-8")
    shown = text.replace("\ndraw_comparison(", "\nfigure = draw_comparison(")
    names: dict[str, Any] = {}
    exec(compile(shown, NOTEBOOK.name, "exec"), names)
    assert isinstance(names["figure"], Figure)
    boxes, after, trained = names["boxes"], names["after"], names["trained"]
    assert len(boxes) == len(after) > 100
    assert "tundra_swan" in trained.gallery.names
    assert "tundra_swan" not in set(boxes["species"])
    pd.testing.assert_series_equal(boxes["distance_trained"], after["distance_trained"])
    assert {*names["refused"]} == {*trained.gallery.thresholds} == {"A", "B", "C"}
    assert names["decided"]["camera"].tolist() == ["left"]
    assert isinstance(names["module"], TripletModule)


def test_it_is_a_notebook_of_jupytext() -> None:
    cells = NOTEBOOK.read_text(encoding="utf-8").split("\n# %%")
    assert cells[0].startswith("# ---\n# jupyter:\n#   jupytext:")
    kinds = {cell.splitlines()[0] for cell in cells[1:]}
    assert kinds == {"", " [markdown]"}
    for cell in cells[1:]:
        if cell.startswith(" [markdown]"):
            assert all(not line or line.startswith("#") for line in cell.splitlines()[1:])
