"""Runs by their name."""

from pathlib import Path

import pytest

from dml_lightning.cli import main
from dml_lightning.files import write_json, write_text
from dml_lightning.runs.names import find_run, find_tested, name_of, with_runs


def write_run(path: Path, started: str, status: str = "finished", stage: str = "fit") -> Path:
    write_text(path / f"recipe.{stage}.yaml", "model: {}\n")
    write_json(path / "run.json", {"stages": {stage: {"status": status, "started": started}}})
    return path


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_only_finished_run_is_found_by_its_name_or_folder() -> None:
    run = write_run(Path("runs/demo/triplet/0a-s0"), "2026-01-02")
    write_run(Path("runs/demo/triplet/0b-s0"), "2026-01-03", "failed")
    floor = write_run(Path("runs/demo/untrained/0c-s0"), "2026-01-03", stage="test")
    for name in ("demo/triplet", "runs/demo/triplet", "demo/triplet@latest", str(run), f"{run}/"):
        assert find_run(name) == run
    assert find_run("demo/untrained") == floor
    assert with_runs(["--run", "demo/triplet", "--out=x"]) == ["--run", str(run), "--out=x"]
    assert with_runs(["--out=--run", "--run=demo/triplet"]) == ["--out=--run", f"--run={run}"]


def test_a_report_also_takes_a_comparison_by_its_name() -> None:
    run = write_run(Path("runs/demo/triplet/0a-s0"), "2026-01-02")
    assert find_tested("demo/triplet") == run
    assert find_tested("demo") == Path("demo")  # not compared yet
    write_json(Path("runs/demo/comparison.json"), {})
    assert find_tested("demo") == find_tested("runs/demo") == Path("runs/demo")
    assert find_tested("embeddings.npz") == Path("embeddings.npz")


def test_of_several_none_is_chosen_silently() -> None:
    older = write_run(Path("runs/own/0a-s0"), "2026-01-02T10:00:00")
    newer = write_run(Path("runs/own/0b-s0"), "2026-01-02T11:00:00")
    with pytest.raises(ValueError, match="own has 2 finished runs") as raised:
        find_run("own")
    assert str(raised.value) == (
        "own has 2 finished runs; name one of them, or own@latest: "
        f"{newer} (finished, 2026-01-02T11:00:00), {older} (finished, 2026-01-02T10:00:00)."
    )
    assert find_run("own@latest") == newer
    for number in range(20):
        write_run(Path(f"runs/own/1{number}-s0"), "2025")
    with pytest.raises(ValueError, match=r"own has 22 finished runs; .*, and 12 more\."):
        find_run("own")


def test_a_run_is_called_by_the_shortest_name_that_finds_it(tmp_path: Path) -> None:
    older = write_run(tmp_path / "runs/own/0a-s0", "2026-01-02")
    assert name_of(older) == "own"
    newer = write_run(tmp_path / "runs/own/0b-s0", "2026-01-03")
    assert (name_of(newer), name_of(older)) == ("own@latest", str(older))
    assert name_of(write_run(tmp_path / "elsewhere/own/0a-s0", "2026")) == str(tmp_path / "elsewhere/own/0a-s0")


def test_an_unfinished_run_is_none() -> None:
    write_run(Path("runs/own/0a-s0"), "2026", "interrupted")
    with pytest.raises(ValueError, match=r"own@latest has no finished run: runs/own/0a-s0 \(interrupted, 2026\)\."):
        find_run("own@latest")
    assert find_run("nosuch") == Path("nosuch")


@pytest.mark.parametrize("command", ["test", "export --out=x", "gallery list", "report"])
def test_every_command_takes_a_name(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(Path("runs/own/0a-s0"), "2026", "failed")
    for option in (["own"],) if command == "report" else (["--run", "own"], ["--run=own"]):
        with pytest.raises(SystemExit, match="2"):
            main([*command.split(), *option])
        assert "own has no finished run: runs/own/0a-s0 (failed, 2026)." in capsys.readouterr().err
