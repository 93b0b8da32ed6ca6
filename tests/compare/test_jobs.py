"""Where the run of a job lies."""

from pathlib import Path

from dml_lightning.compare.jobs import Job, find_run
from dml_lightning.files import write_json


def test_a_run_is_found_by_its_command(tmp_path: Path) -> None:
    job, other = Job("pro xy", 3, 1, ("--a=1",)), Job("pro xy", 3, 2, ("--a=2",))
    run = tmp_path / "name" / "pro_xy" / "abc-s3"
    write_json(run / "run.json", {"stages": {"fit": {"command": job.first_words}}})
    assert find_run(job, tmp_path, "name") == run
    assert find_run(other, tmp_path, "name") is None
