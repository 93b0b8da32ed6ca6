"""What a tested run shows in Weights & Biases."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest

from dml_lightning.callbacks import tracking
from dml_lightning.files import write_text


def test_a_row_for_each_class_part_and_mean_of_the_nearest_score() -> None:
    metrics = {
        "test/ood_auroc": 0.9,
        "test/ood_auroc_mammal": 0.8,
        "test/ood_auroc_near": 0.85,
        "test/ood_auroc_macro": 0.7,
        "test/ood_auroc_radius": 0.1,
        "test/ood_auroc_radius_mammal": 0.2,
        "test/ood_fpr95_ood_positive_mammal": 0.4,
        "test/ood_fpr95_known_positive_mammal": 0.3,
        "val/ood_auroc_glint": 0.5,
    }
    table = tracking.ood_by_class(metrics).set_index("class")
    assert table.index.tolist() == ["mammal", "near", "macro"]
    assert table.loc["mammal"].to_dict() == {
        "auroc": 0.8,
        "fpr95_ood_positive": 0.4,
        "fpr95_known_positive": 0.3,
    }
    assert math.isnan(table.loc["macro", "fpr95_ood_positive"])  # a mean has no rate of its own


def test_without_ood_classes_there_is_no_row() -> None:
    assert tracking.ood_by_class({"test/accuracy": 1.0, "test/ood_auroc": 1.0}).empty


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """Figures that are drawn, of a test whose folder is `tmp_path`."""
    paths: list[Path] = []
    for name in ("draw_comparison", "draw_neighbours"):
        monkeypatch.setattr(tracking, name, lambda tested, path: paths.append(path))
    monkeypatch.setattr(tracking, "result_folder", lambda trainer: tmp_path)
    monkeypatch.setattr(tracking, "read_evidence", lambda path: None)
    return paths


@pytest.mark.parametrize(
    ("first", "written", "trial"),
    [(True, True, False), (True, False, False), (False, True, False), (True, True, True)],
)
def test_figures_are_drawn_once_without_a_logger_and_where_there_is_a_test(
    tmp_path: Path, drawn: list[Path], first: bool, written: bool, trial: bool
) -> None:
    if written:
        write_text(tracking.test_file(tmp_path), "")
    given: Any = SimpleNamespace(
        loggers=[],
        is_global_zero=first,
        fast_dev_run=2 if trial else False,
        default_root_dir=str(tmp_path),
        callback_metrics={"test/accuracy": 1.0},
    )
    tracking.Tracking().on_test_end(given, L.LightningModule())
    figures = [tmp_path / "figures" / f"{name}.png" for name in ("projection", "neighbours")]
    assert drawn == figures * (first and written and not trial)
