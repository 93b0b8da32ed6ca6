"""One run of a comparison: its recipe, its log and its outcome."""

from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest

from dml_lightning.commands.jobs import planned_recipe, run_job
from dml_lightning.compare import workers
from dml_lightning.compare.jobs import Job, Outcome
from dml_lightning.compare.scheduling import Schedule, log_file, run_all
from dml_lightning.files import write_json
from tests.compare.jobs_for_tests import jobs, silent, talk


@pytest.mark.parametrize("printed", ["usage: dml [options]\n  --help", "usage: dml", ""])
def test_options_that_print_no_recipe_are_refused(monkeypatch: pytest.MonkeyPatch, printed: str) -> None:
    def print_and_exit(words: list[str]) -> None:
        print(printed)
        raise SystemExit(0)

    monkeypatch.setattr("dml_lightning.commands.train.train", print_and_exit)
    with pytest.raises(ValueError, match=r"options of softmax make no recipe.*such as --help\."):
        planned_recipe(Job("softmax", 0, 0, ("--help",)))


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("lost", ["metrics/test.json", "embeddings/test.npz"])
def test_a_run_that_lost_its_test_is_not_tested_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str, train: bool
) -> None:
    job, run, commands = Job("softmax", 0, 0, (), train), tmp_path / "run", []
    write_json(run / "run.json", {"stages": {"test": {"status": "finished"}}})
    for name in ("metrics/test.json", "embeddings/test.npz"):
        write_json(run / name, {})

    def run_command(words: list[str]) -> Path:
        commands.append(words[0])
        return run

    monkeypatch.setattr("dml_lightning.commands.train.train", run_command)
    assert run_job(job) == Outcome(job, run, taken=True)
    (run / lost).unlink()
    outcome = run_job(job)
    assert outcome.run is None
    assert outcome.error == (
        f"{run} has been tested, but has no {lost}: delete this folder, and the same command runs it again."
    )
    assert commands == 2 * ["fit" if train else "test"]


def test_an_error_is_an_outcome_with_its_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    job = Job("softmax", 3, 1, ("--no_such_option=1",), train_per_class=5)
    assert job.title == "softmax, seed 3, fold 1, 5 crops a class"
    log = log_file(tmp_path, job)
    with capfd.disabled():  # pytest's streams are no files
        outcome = run_job(job, log)
    assert outcome.run is None
    assert "no_such_option" in str(outcome.error)
    assert "Traceback" in log.read_text()


@pytest.fixture
def new_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server of workers that prints where the test does, and imports nothing in advance."""
    monkeypatch.setattr(workers, "PRELOADED", [])
    server: Any = forkserver._forkserver  # type: ignore[attr-defined]
    server._stop()  # meant for tests
    yield
    server._stop()


@pytest.mark.usefixtures("new_server")
def test_all_that_a_job_prints_is_in_its_own_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    listed = jobs("a b", tmp_path)
    run_all(listed, Schedule(workers=1), tmp_path, silent, talk)
    for n, job in enumerate(listed):
        said = sorted(log_file(tmp_path, job).read_text().splitlines())
        assert said == [f"logged {n}", f"printed {n}", f"written {n}"]
    assert capfd.readouterr() == ("after 0\nafter 1\n", "")
