"""What is shown while a comparison runs."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from dml_lightning.compare.jobs import Job, Outcome
from dml_lightning.compare.progress import Progress


def test_names_with_brackets_are_shown_as_they_are(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    ended, waiting = Job("pro[red]", 0, 0, ()), Job("[/bold]", 1, 0, ())
    with Progress(tmp_path, "name", 2, "val/[map]", 1, 1, console) as progress:
        progress.look([Outcome(ended, error="it")], [waiting])
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert all(text in said for text in ("pro[red], seed 0", "[/bold], seed 1", "val/[map]"))


def test_what_several_runs_fail_by_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    errors = ["no such folder", None, "no such folder", "out of memory"]
    ended = [Outcome(Job("a", seed, 0, ()), error=error) for seed, error in enumerate(errors)]
    with Progress(tmp_path, "name", 4, "val/map_at_r", 1, 1) as progress:
        for number in range(len(ended)):
            progress.look(ended[: number + 1], [])
    assert capsys.readouterr().out.splitlines() == [
        "[1/4] a, seed 0, fold 0: failed: no such folder",
        "[2/4] a, seed 1, fold 0: done",
        "[3/4] a, seed 2, fold 0: failed like [1]",
        "[4/4] a, seed 3, fold 0: failed: out of memory",
    ]


@pytest.mark.parametrize("terminal", [True, False])
def test_what_was_not_run_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], terminal: bool) -> None:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=120)
    ended = [Outcome(Job("a", seed, 0, ()), tmp_path, taken=seed < 2) for seed in range(3)]
    with Progress(tmp_path, "name", 3, "val/map_at_r", 1, 1, console) as progress:
        progress.look(ended, [])
    shown = console.file.getvalue() if terminal else capsys.readouterr().out  # type: ignore[attr-defined]
    lines = [line for line in shown.splitlines() if "seed" in line][:3]  # a terminal's are drawn again at the end
    assert ["taken from an earlier run" in line for line in lines] == [True, True, False]
    assert ["done" in line for line in lines] == [False, False, True]
    assert "2 of 3 runs were taken from an earlier run." in (capsys.readouterr().out if terminal else shown)
