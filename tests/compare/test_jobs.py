"""Where the run of a job lies."""

from pathlib import Path

from dml_lightning.compare.jobs import Job, find_run, folder_of
from dml_lightning.files import write_json


def test_a_run_is_found_by_its_command(tmp_path: Path) -> None:
    job, other = Job("pro xy", 3, 1, ("--a=1",)), Job("pro xy", 3, 2, ("--a=2",))
    run = tmp_path / "name" / "pro_xy" / "abc-s3"
    write_json(run / "run.json", {"stages": {"fit": {"command": job.first_words}}})
    assert find_run(job, tmp_path, "name") == run
    assert find_run(other, tmp_path, "name") is None


def test_a_title_names_what_is_not_usual() -> None:
    assert Job("a", 3, 1, ()).title == "a, seed 3, fold 1"
    assert Job("a", 3, 1, (), train_per_class=5, trial=2).title == "a, seed 3, fold 1, 5 crops a class, trial 2"


def test_a_floor_is_tested_as_it_is_initialised() -> None:
    assert Job("a", 0, 0, ("--x=1",)).first_words == ["fit", "--x=1", "--reuse=true"]
    floor = Job("a", 0, 0, ("--x=1",), train=False).first_words
    assert (floor[0], floor[1], "--ckpt_path=none" in floor) == ("test", "--x=1", True)


def test_folders_are_named_in_letters_that_every_file_system_takes() -> None:
    assert [folder_of(arm) for arm in ("soft max", "a/b:c", "lr=1e-3", "Küken_2.0")] == [
        "soft_max",
        "a_b_c",
        "lr_1e-3",
        "Küken_2.0",
    ]


def test_a_record_that_is_being_written_is_passed_over(tmp_path: Path) -> None:
    run = tmp_path / "name" / "a" / "abc-s3"
    run.mkdir(parents=True)
    (run / "run.json").write_text("{")
    assert find_run(Job("a", 3, 0, ()), tmp_path, "name") is None
