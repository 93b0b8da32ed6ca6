"""`dml compare`: arms and floors fitted and tested alike, one table, figures."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from dml_lightning.cli import main
from dml_lightning.compare.table import comparison_table, render

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def experiment(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A small comparison: one trained arm, one floor, two seeds."""
    folder = tmp_path_factory.mktemp("compare")
    model = f"{ROOT}/configs/model"
    shared = [word.removeprefix("--config=") for word in words if word.startswith("--config=")]
    overrides = [word for word in words if not word.startswith(("--config=", "--runs_root="))]
    floor = ["--model.init_args.encoder.backbone_args", "--model.init_args.encoder.embedding_dim"]
    raw = folder / "raw.yaml"
    raw.write_text(Path(model, "untrained.yaml").read_text())
    assert any(word.startswith(floor[0]) for word in overrides)
    settings = {
        "name": "small",
        "shared": shared,
        "arms": {
            "untrained": {"configs": [str(raw)], "train": False},
            "softmax": {"configs": [f"{model}/softmax.yaml"]},
        },
        "seeds": [0, 1],
        "overrides": overrides,
        "out": str(folder / "runs"),
    }
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump(settings, sort_keys=False))
    return ["compare", f"--config={path}"]


def test_a_comparison_ends_with_a_table_and_figures(
    experiment: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = main(experiment)
    table = pd.read_csv(folder / "comparison.csv")
    assert table["arm"].tolist() == ["untrained", "softmax", "untrained", "softmax"]
    assert table["run"].nunique() == 4
    written = (folder / "comparison.md").read_text()
    mean = table.loc[table["arm"] == "softmax", "test/map_at_r"].mean()
    assert f"{mean:.3f} ±" in written
    assert "2 runs per arm" in capsys.readouterr().out
    for name in ("comparison.png", "neighbours.png"):
        with Image.open(folder / name) as picture:
            assert np.asarray(picture.convert("L")).std() > 1, name
    again = {run: Path(run, "run.json").stat().st_mtime_ns for run in table["run"][1::2]}
    main(experiment)  # finished runs are taken as they are
    assert again == {run: Path(run, "run.json").stat().st_mtime_ns for run in again}


def test_the_table_shows_means_and_leaves_out_empty_columns(tmp_path: Path) -> None:
    from dml_lightning.compare.experiment import RunRecord

    records = []
    for seed, value in enumerate((0.25, 0.75)):
        run = tmp_path / str(seed)
        (run / "metrics").mkdir(parents=True)
        metrics = f'{{"test/map_at_r": {value}, "test/recall_at_1": null}}'
        (run / "metrics" / "test.json").write_text(metrics)
        records.append(RunRecord("triplet", seed, 0, run))
    written = render(comparison_table(records), records).markdown.splitlines()
    assert written == ["| test split | triplet |", "| --- | ---: |", "| MAP@R | 0.500 ± 0.354 |"]
