"""The summary of a comparison in Weights & Biases, where that cannot be had."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import wandb

from dml_lightning.compare import tracking
from dml_lightning.files import write_text


@pytest.mark.parametrize(
    ("asked", "variable", "works", "tried"),
    [
        ("online", "", {"online", "offline"}, ["online"]),
        ("online", "", {"offline"}, ["online", "offline"]),
        ("online", "", set(), ["online", "offline"]),
        ("offline", "", set(), ["offline"]),
        ("disabled", "", set(), []),
        ("null", "", {"offline"}, ["offline"]),
        ("null", "online", {"online"}, ["online"]),
        ("null", "disabled", set(), []),
    ],
)
def test_what_cannot_be_tracked_costs_no_comparison(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    asked: str,
    variable: str,
    works: set[str],
    tried: Sequence[str],
) -> None:
    modes = []

    def log(name: str, folder: Path, table: pd.DataFrame, answer: Any, how: Any) -> None:
        modes.append(how.mode)
        if modes[-1] not in works:
            raise OSError("no home") if modes[-1] == "offline" else wandb.errors.CommError("no network")

    monkeypatch.setattr(tracking, "_log", log)
    monkeypatch.setenv("WANDB_MODE", variable)
    monkeypatch.setattr(wandb, "teardown", lambda: None)
    write_text(tmp_path / "run" / "recipe.fit.yaml", f"tracking: {{wandb: {asked}}}")
    table = pd.DataFrame({"run": [str(tmp_path / "run")]})
    tracking.track_summary("ours", tmp_path, table, ["softmax is better"])
    assert modes == tried
    failed = [mode for mode in tried if mode not in works]
    said = capsys.readouterr().out.splitlines()
    why = {"online": "no network", "offline": "no home"}
    assert said == [f"Weights & Biases has no summary of this comparison ({mode}): {why[mode]}" for mode in failed]
