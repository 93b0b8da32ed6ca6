"""One run of a comparison: its recipe, its log and its outcome."""

import subprocess
import sys
from pathlib import Path

import pytest

from dml_lightning.commands.jobs import planned_recipe, run_job
from dml_lightning.compare.jobs import Job, Outcome
from dml_lightning.compare.scheduling import log_file
from dml_lightning.files import write_json
from tests import ROOT
from tests.compare.jobs_for_tests import jobs


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


# Another process, since a server of workers keeps the streams that it had at its start.
SCHEDULER = """
import sys
from pathlib import Path
from dml_lightning.compare import workers
from dml_lightning.compare.scheduling import Schedule, run_all
from tests.compare.jobs_for_tests import jobs, silent, talk

workers.PRELOADED = []
folder = Path(sys.argv[1])
run_all(jobs("a b", folder), Schedule(workers=1), folder, silent, talk)
"""


def test_all_that_a_job_prints_is_in_its_own_log(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCHEDULER, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True, cwd=ROOT)
    for n, job in enumerate(jobs("a b", tmp_path)):
        said = sorted(log_file(tmp_path, job).read_text().splitlines())
        assert said == [f"logged {n}", f"printed {n}", f"written {n}"]
    assert (done.stdout, done.stderr) == ("after 0\nafter 1\n", "")
