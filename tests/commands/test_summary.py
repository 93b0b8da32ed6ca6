"""The numbers that a stage prints."""

from pathlib import Path

import pytest

from dml_lightning.cli import main
from dml_lightning.commands.summary import outcome, summary
from dml_lightning.runs.folder import read_metrics
from dml_lightning.stats.results import COLUMNS


def test_every_main_number_has_a_row_that_fits_80_columns() -> None:
    names = [*COLUMNS, "balanced_accuracy_softmax"]
    lines = summary({f"val/{key}": float("nan") for key in names}, "val").splitlines()
    assert len(lines) == 1 + len(COLUMNS)
    assert max(map(len, lines)) < 80
    assert len({len(line) for line in lines}) == 1
    assert summary({}, "test").split() == ["test", "split", "value"]


def test_an_arm_without_a_classifier_has_one_accuracy_by_prototype() -> None:
    values = dict.fromkeys(("test/balanced_accuracy", "test/balanced_accuracy_prototype"), 0.75)
    assert summary(values, "test").count("balanced accuracy") == 1
    assert summary(values | {"test/balanced_accuracy_softmax": 0.75}, "test").count("balanced accuracy") == 2


@pytest.mark.parametrize(("more", "printed"), [([], True), (["--verbose=false"], False)])
def test_a_test_prints_one_short_table(
    runs: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    more: list[str],
    printed: bool,
) -> None:
    run = runs["softmax"]
    capsys.readouterr()
    main(["validate", "--run", str(run), *more])
    told, beside = capsys.readouterr()
    assert beside == ""
    assert [record.getMessage() for record in caplog.records if record.name.startswith("lightning")] == []
    expected = summary({f"val/{key}": value for key, value in read_metrics(run, "val").items()}, "val")
    assert (expected in told) == printed
    assert told.count(COLUMNS["balanced_accuracy_prototype"]) == printed
    assert "DataLoader" not in told  # of Lightning's table


@pytest.mark.parametrize("accuracy", [0.6, 0.599, float("nan")])
def test_a_run_that_is_no_better_than_raw_pixels_is_warned_of(accuracy: float) -> None:
    assert "\nWarning: the run is no better than raw pixels." in outcome(accuracy, floor=0.6)
    assert "Warning" not in outcome(0.601, floor=0.6)
