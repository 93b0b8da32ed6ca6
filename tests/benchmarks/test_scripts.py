"""Every benchmark explains itself, and its result begins with its recipe before anything is measured."""

import ast
import re
from importlib.metadata import version
from types import ModuleType

import pytest
import torch

from tests.benchmarks.conftest import FOLDER, benchmark

HELPERS = {"measure", "short_runs", "truth"}  # that no `make bench` runs
DOWNLOADS = {"count_width", "foreign_files"}  # that only `make bench ONLY=...` runs
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in HELPERS)
ONE_THREAD = {"rank_parity", "traffic"}  # whose ranks are forked, and hang after OpenMP
WITH_RESULT = [name for name in SCRIPTS if name != "reference_run"]  # which compares, and measures nothing


def run(name: str, monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr("sys.argv", [str(FOLDER / f"{name}.py"), *words])
    benchmark(name).main()


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_shows_the_commands(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        run(name, monkeypatch, "--help")
    assert end.value.code == 0
    assert f"python benchmarks/{name}.py" in capsys.readouterr().out


@pytest.mark.parametrize("name", WITH_RESULT)
def test_a_result_begins_with_the_versions(name: str, measure: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    class BeginsError(Exception):
        """Ends the script where it would begin to measure."""

    heads: list[str] = []

    def begin(result: object) -> None:
        heads.append(result.lines[2])  # type: ignore[attr-defined]
        raise BeginsError

    monkeypatch.setattr(measure.Result, "__enter__", begin)
    with pytest.raises(BeginsError):
        run(name, monkeypatch, "--threads=1" if name in ONE_THREAD else f"--threads={torch.get_num_threads()}")
    assert heads[0].startswith(f"`python benchmarks/{name}.py")
    packages = benchmark(name).PACKAGES
    assert packages
    for package in ("dml-lightning", "torch", *packages):
        assert f"{package} {version(package)}" in heads[0]


@pytest.mark.parametrize("name", WITH_RESULT)
def test_what_is_shared_is_written_once(name: str) -> None:
    """No script reads its own memory, starts its own processes, or puts together versions or tables."""
    source = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    called = {ast.unparse(node.func) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)}
    assert not called & {"version", "platform.python_version", "subprocess.run", "torch.cuda.synchronize"}
    assert not re.search(r"/proc/self|\|---", source)


def test_make_bench_runs_every_script() -> None:
    makefile = (FOLDER.parent / "Makefile").read_text(encoding="utf-8")
    found = re.search(r"filter-out ([\w ]+),.*benchmarks/\*\.py", makefile)
    assert found is not None
    assert set(found[1].split()) == HELPERS | DOWNLOADS
