"""The helpers of the benchmarks: heads, turns, memory of a process of its own, tables and saved files."""

import argparse
import ast
import math
import os
import statistics
import sys
import time
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

LINUX = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="resident sizes are read from /proc")


@pytest.fixture
def results(measure: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in the place of the committed results."""
    monkeypatch.setattr(measure, "RESULTS", tmp_path)
    for name in measure.THREADS:  # which a result sets: back as they were afterwards
        monkeypatch.setenv(name, os.environ.get(name, str(torch.get_num_threads())))
    monkeypatch.setattr("sys.argv", ["anything.py", "--rows", "7"])
    return tmp_path


def given(measure: ModuleType, *words: str, **more: object) -> argparse.Namespace:
    args: argparse.Namespace = measure.options("About it.").parse_args([*words, f"--threads={torch.get_num_threads()}"])
    return argparse.Namespace(**vars(args), **more)


def test_a_head_names_command_day_versions_and_machine(measure: ModuleType) -> None:
    head = measure.head("python benchmarks/it.py --rows 7", ("numpy", "torch"), threads=2)
    year, month, day = time.localtime()[:3]
    for part in ("`python benchmarks/it.py --rows 7`", f"{year}-{month:02}-{day:02}", "2 threads", "Python 3."):
        assert part in head
    for name in ("dml-lightning", "numpy", "torch"):
        assert head.count(f"{name} {version(name)}") == 1
    assert "1 thread of" in measure.head("it", (), threads=1)


def test_a_result_is_printed_and_only_saved_when_asked(
    measure: ModuleType, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def write(*words: str) -> str:
        with measure.Result("benchmarks/it.py", "Title", ("numpy",), given(measure, *words)) as result:
            result.text("One.", "Two.")
            result.table(("name", "value"), ((name, 1.5) for name in "ab"))
            result.figure(Figure())
        return capsys.readouterr().out

    printed = write()
    assert list(results.iterdir()) == []
    saved = write("--save")
    text = (results / "it.md").read_text(encoding="utf-8")
    assert saved.strip() == text.strip()
    assert sorted(path.name for path in results.iterdir()) == ["it.md", "it.png"]
    title, head, body = text.split("\n\n", 2)
    assert title == "# Title"
    assert head.startswith("`python benchmarks/it.py --rows 7`, ")
    table = "| name | value |\n| --- | ---: |\n| a | 1.5 |\n| b | 1.5 |"
    assert body == f"One.\n\nTwo.\n\n{table}\n\n![Title](it.png)\n"
    assert printed.split("\n\n", 2)[2].strip() == body.strip()


def test_an_error_leaves_an_earlier_result_as_it_was(measure: ModuleType, results: Path) -> None:
    (results / "it.md").write_text("earlier", encoding="utf-8")

    def fail_half_way() -> None:
        with measure.Result("it.py", "Title", (), given(measure, "--save")) as result:
            result.text("One.")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail_half_way()
    assert (results / "it.md").read_text(encoding="utf-8") == "earlier"


def test_a_result_from_a_gpu_has_a_file_of_its_own(
    measure: ModuleType, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU at {device}")
    result = measure.Result("it.py", "Title", (), given(measure, device="cuda"))
    assert result.path == results / "it_cuda.md"
    assert "GPU at cuda" in result.lines[2]


def test_works_take_turns_and_warm_rounds_do_not_count(measure: ModuleType) -> None:
    calls: list[str] = []

    def work(name: str) -> int:
        calls.append(name)
        return len(calls)

    found = measure.in_turn({"A": lambda: work("A"), "B": lambda: work("B")}, repeats=2, warm=1)
    assert calls == list("ABABAB")
    assert found == {"A": [3, 5], "B": [4, 6]}


def test_ratios_are_those_of_one_round(measure: ModuleType) -> None:
    one, other = [1.0, 8.0, 3.0], [2.0, 4.0, 3.0]
    expected = []
    for number in range(3):
        expected.append(one[number] / other[number])
    assert measure.ratios(one, other) == expected == [0.5, 2.0, 1.0]
    with pytest.raises(ValueError, match="shorter"):
        measure.ratios(one, other[:2])


@pytest.mark.parametrize("values", [[3.0], [5.0, 1.0], [0.125, 4.0, 1234.5]])
def test_a_spread_is_median_and_range(measure: ModuleType, values: list[float]) -> None:
    ordered = sorted(values)
    expected = f"{statistics.median(ordered):,.1f} ({ordered[0]:,.1f}-{ordered[-1]:,.1f})"
    assert measure.spread(values, 1) == expected


def test_a_stopwatch_adds_up_what_is_inside(measure: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 13.0, 100.0, 105.0])
    monkeypatch.setattr(measure.time, "perf_counter", lambda: next(clock))
    watch = measure.Stopwatch()
    with watch:
        pass
    assert watch.seconds == 3.0
    with watch:
        pass
    assert watch.seconds == 8.0


@LINUX
def test_peak_memory_counts_what_was_freed_again(measure: ModuleType) -> None:
    with measure.PeakMemory() as memory:
        del (block := [np.ones(2**20) for _ in range(64)])[:]  # 64 times 8 MB, all freed before the end
        assert block == []
    assert 480 < memory.added < 600


def test_every_call_has_a_process_of_its_own(measure: ModuleType) -> None:
    first, second = measure.own_process(os.getpid), measure.own_process(os.getpid)
    assert len({first, second, os.getpid()}) == 3
    assert measure.own_process(math.hypot, 3, 4) == 5
    with pytest.raises(ValueError, match="math domain"):
        measure.own_process(math.sqrt, -1)


def test_a_result_sets_the_threads_of_processes_to_come(measure: ModuleType, results: Path) -> None:
    number = torch.get_num_threads()
    os.environ.update(dict.fromkeys(measure.THREADS, "77"))
    with measure.Result("it.py", "Title", (), given(measure)):
        assert {os.environ[name] for name in measure.THREADS} == {str(number)}


def test_a_tool_runs_in_an_environment_of_its_own(
    measure: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(measure.__file__).parent))
    script, written = tmp_path / "script.py", tmp_path / "out"
    script.write_text(
        "import sys, importlib.util as u\n"
        "found = [name for name in ('measure', 'dml_lightning', 'numpy') if u.find_spec(name)]\n"
        "open(sys.argv[1], 'w').write(repr((sys.argv[2:], found, sys.prefix)))\n"
        "sys.exit('not this one' if sys.argv[3:] else 0)\n",
        encoding="utf-8",
    )
    measure.run_tool([], script, written, 7)
    words, found, prefix = ast.literal_eval(written.read_text(encoding="utf-8"))
    assert (words, found) == (["7"], [])
    assert prefix != sys.prefix
    assert not Path(prefix).exists()
    with pytest.raises(RuntimeError, match="not this one"):
        measure.run_tool([], script, written, 7, 8)
