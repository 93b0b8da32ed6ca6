"""What may go, and what stays whatever is asked."""

import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from dml_lightning.cli import main
from dml_lightning.commands.clean import DAY
from dml_lightning.data.cache import build_cache
from dml_lightning.data.crops import CropOptions
from dml_lightning.files import locked, write_json, write_text


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def age(folder: Path, days: float = 30) -> Path:
    """Makes a folder, its files and the lock of a cache look old."""
    then = time.time() - days * DAY
    for path in (*folder.rglob("*"), folder, folder.with_suffix(".lock")):
        if path.exists():
            os.utime(path, (then, then))
    return folder


def write_run(path: Path, status: str = "failed", stage: str = "fit") -> Path:
    write_text(path / f"recipe.{stage}.yaml", "model: {}\n")
    write_json(path / "run.json", {"stages": {stage: {"status": status}}})
    return age(path)


def cache(side: int) -> Path:
    tifffile.imwrite("frame.tiff", np.ones((40, 40), np.uint16))
    table = pd.DataFrame({"frame": ["frame.tiff"], "x": [1.0], "y": [1.0], "width": [9.0], "height": [9.0]})
    return build_cache(table, CropOptions(crop_size=side), Path("cache"))


def test_old_caches_and_unfinished_runs_are_shown_and_removed_only_when_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    old, new = age(cache(16)), cache(24)
    left = Path("cache", f"{old.name}.tmp0123abcd")
    left.mkdir()
    age(left)
    failed = write_run(Path("runs/own/0a-s0"))
    assert main(["clean"]) == []
    told = capsys.readouterr().out
    assert [line.split()[-1] for line in told.splitlines()[:3]] == [str(old), str(left), str(failed)]
    assert "in 3 folders." in told
    assert "Nothing was removed; dml clean --yes removes" in told
    assert main(["clean", "--yes"]) == [old, left, failed]
    assert [path.exists() for path in (old, left, failed, new)] == [False, False, False, True]
    assert main(["clean", "--yes"]) == []
    assert "Nothing in cache or runs has lain unused for 14 days." in capsys.readouterr().out
    assert main(["clean", "--yes", "--days=0"]) == [new]


@pytest.mark.parametrize(("answer", "stays"), [("y", False), ("", True), ("n", True)])
def test_at_a_terminal_it_asks(monkeypatch: pytest.MonkeyPatch, answer: str, stays: bool) -> None:
    run = write_run(Path("runs/own/0a-s0"))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: answer)
    main(["clean"])
    assert run.exists() == stays


def test_what_a_comparison_declared_or_has_finished_or_is_being_written_stays() -> None:
    write_text(Path("runs/compared/declared.json"), "{}")
    kept = [
        write_run(Path("runs/compared/softmax/0a-s0")),
        write_run(Path("runs/own/0b-s0"), "finished"),
        write_run(Path("runs/floor/0c-s0"), "finished", stage="test"),
    ]
    (no_run := Path("runs/other/notes")).mkdir(parents=True)
    write_json(no_run / "run.json", {"stages": {}})
    (elsewhere := Path("cache/crops-of-mine")).mkdir(parents=True)
    Path("runs/linked").symlink_to(write_run(Path("elsewhere/0d-s0")).absolute())
    busy = write_run(Path("runs/own/0e-s0"))
    pid = os.fork()
    if pid == 0:
        with locked(busy):
            Path("held").touch()
            time.sleep(60)
    try:
        while not Path("held").exists():
            time.sleep(0.01)
        assert main(["clean", "--yes", "--days=0"]) == []
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    assert all(path.exists() for path in (*kept, no_run, elsewhere, Path("elsewhere/0d-s0/run.json")))
    assert main(["clean", "--yes", "--days=0"]) == [busy]


def test_days_below_zero_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["clean", "--days=-1"])
    assert "--days -1.0 must be 0 or more." in capsys.readouterr().err
