"""What a finished run says of the structure of its space, computed again from its embeddings."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from dml_lightning.callbacks import ClassResults, Retrieval
from dml_lightning.cli import main
from dml_lightning.data import ThermalWaterfowlDataModule
from dml_lightning.data.sources import CsvTable
from dml_lightning.evaluation.classes import class_results
from dml_lightning.evaluation.evidence import read_evidence
from dml_lightning.evaluation.numbers import measure
from dml_lightning.evaluation.retrieval import selection
from dml_lightning.evaluation.verification import verification_values
from dml_lightning.metrics.distances import distance_summary
from dml_lightning.metrics.structure import embedding_density, spectral_decay, worst_class_gap
from dml_lightning.runs.checkpoints import read_checkpoint
from tests.end_to_end.arms import arm_words


@pytest.fixture(scope="module")
def run(words: list[str]) -> Path:
    """A run of the triplet arm with a few more steps, tracked by Weights & Biases offline."""
    longer = [
        *arm_words(words, "triplet"),
        "--name=longer",
        "--data.batches_per_epoch=16",
        "--trainer.log_every_n_steps=10",
    ]
    folder: Path = main(["fit", *longer])
    return folder


@pytest.mark.parametrize("prefix", ["", "novel_"])
def test_numbers(run: Path, prefix: str) -> None:
    logged = json.loads((run / "metrics" / "val.json").read_text())
    with np.load(run / "embeddings" / "val.npz") as file:
        chosen = file["roles"] == (prefix.rstrip("_") or "known")
        x, y, names = file["vectors"][chosen], file["labels"][chosen], file["class_names"]
    density = embedding_density(x, y)
    table = pd.read_csv(run / "tables" / "val_class_distances.csv", index_col=0)
    own = names[np.unique(y)]
    expected = {
        "roth_embedding_density": density.density,
        "roth_spectral_decay": spectral_decay(x),
        "roth_singleton_classes": density.singletons,
        "worst_class_gap": worst_class_gap(table.loc[own, own]),
    }
    for name, value in expected.items():
        assert logged[f"val/{prefix}{name}"] == pytest.approx(value, rel=1e-4), name
    assert distance_summary(x, y).intra == pytest.approx(logged[f"val/{prefix}intra_distance"], rel=1e-5)


def test_checkpoints_are_chosen_by_other_flights_or_by_all_of_them(run: Path) -> None:
    """By labels and flights of the validation crops."""
    with np.load(run / "embeddings" / "val.npz") as file:
        chosen = file["roles"] == "known"
        metric = selection(file["labels"][chosen], file["groups"][chosen]).metric
    history = pd.read_csv(run / "csv" / "fit" / "metrics.csv").dropna(subset=["val/map_at_r"])
    assert history["val/selection_map_at_r"].to_list() == history[f"val/{metric}"].to_list()
    assert ("val/map_at_r_other_groups" in history) == (metric != "map_at_r")  # one flight: no other is there
    best = read_checkpoint(run / "checkpoints" / "best.ckpt")
    scores = history["val/selection_map_at_r"].to_list()
    assert best["epoch"] == scores.index(max(scores))
    assert "test/selection_map_at_r" not in measure(read_evidence(run / "embeddings" / "val.npz"))


@pytest.mark.parametrize("flights_of", ["one", "two"])
def test_a_choice_by_all_flights_is_told_at_the_start(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, flights_of: str
) -> None:
    data = ThermalWaterfowlDataModule(CsvTable("nowhere", "boxes.csv"))
    table = {"labels": [0, 0, 1, 1], "groups": list("aabb" if flights_of == "one" else "abab")}
    for name, column in table.items():
        monkeypatch.setattr(ThermalWaterfowlDataModule, name, np.array(column))
    monkeypatch.setattr(data, "rows", lambda role, split: np.arange(4) if (role, split) == ("known", "val") else None)
    trainer = SimpleNamespace(datamodule=data, is_global_zero=True)
    Retrieval().on_fit_start(trainer, None)  # type: ignore[arg-type]
    assert capsys.readouterr().out.splitlines() == (
        [
            "Checkpoints are chosen by map_at_r and not by map_at_r_other_groups: 4 of 4 known crops, among them all "
            "of 2 of 2 classes, have no other of their class in another group."
        ]
        if flights_of == "one"
        else []
    )


def test_the_table_has_every_pair_of_classes(run: Path) -> None:
    table = pd.read_csv(run / "tables" / "val_class_distances.csv", index_col="class")
    with np.load(run / "embeddings" / "val.npz") as file:
        seen = np.isin(file["roles"], ("known", "novel", "ood"))
        x, y, names = file["vectors"][seen], file["labels"][seen], list(file["class_names"])
    present = [names[label] for label in np.unique(y)]
    assert list(table.index) == list(table.columns) == present
    assert {"canada_goose", "northern_shoveler", "background"} <= set(present)
    goose, other = (x[y == names.index(name)] for name in ("canada_goose", "background"))
    expected = np.linalg.norm(goose[:, None] - other, axis=2).mean()
    assert table.loc["canada_goose", "background"] == pytest.approx(expected, rel=1e-4)
    assert np.allclose(table, table.T, equal_nan=True)
    assert not list((run / "tables").glob(".*"))


def test_the_table_goes_to_weights_and_biases(run: Path) -> None:
    paths = list(run.glob("wandb/offline-run-*/files/media/table/val/class_distances*.table.json"))
    assert len(paths) == 1  # of the best checkpoint: between epochs nothing waits for the network
    stored = json.loads(paths[0].read_text())
    table = pd.read_csv(run / "tables" / "val_class_distances.csv", index_col="class")
    assert stored["columns"] == ["class", *table.columns]
    assert [row[0] for row in stored["data"]] == list(table.index)


def test_results_by_class_are_a_file_and_a_table_of_weights_and_biases(run: Path) -> None:
    table = pd.read_csv(run / "tables" / "val_classes.csv")
    expected = class_results(read_evidence(run / "embeddings" / "val.npz"))
    pd.testing.assert_frame_equal(table, expected, rtol=1e-4)
    paths = list(run.glob("wandb/offline-run-*/files/media/table/val/classes*.table.json"))
    assert len(paths) == 1
    stored = json.loads(paths[0].read_text())
    assert stored["columns"] == list(table)
    assert [row[:3] for row in stored["data"]] == table.iloc[:, :3].to_numpy(object).tolist()


def test_every_rank_gathers_for_results_by_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that writes nothing, or the first would wait for it."""
    gathered: list[object] = []
    monkeypatch.setattr("dml_lightning.callbacks.measurements.evidence_of", lambda *args: gathered.append(args))
    trainer = SimpleNamespace(is_global_zero=False, state=SimpleNamespace(fn="test"), fast_dev_run=False)
    ClassResults().evaluate(trainer, None, "test")  # type: ignore[arg-type]
    assert len(gathered) == 1


def test_results_of_another_checkpoint_lie_beside_its_numbers(run: Path) -> None:
    """And without Weights & Biases nothing but the file is missing."""
    before = {path: path.read_bytes() for path in (run / "tables").iterdir()}
    main(["validate", f"--run={run}", "--ckpt_path=none", "--tracking.wandb=disabled"])
    assert {path: path.read_bytes() for path in (run / "tables").iterdir()} == before
    (other,) = (run / "other").glob("*/tables/val_classes.csv")
    assert list(pd.read_csv(other)) == list(pd.read_csv(run / "tables" / "val_classes.csv"))
    assert (other.parent.parent / "metrics" / "val.json").is_file()


def test_pairs_are_counted_after_the_fit_and_not_in_its_epochs(run: Path) -> None:
    logged = json.loads((run / "metrics" / "val.json").read_text())
    names = {name for name in logged if "fnmr" in name}
    values = verification_values(read_evidence(run / "embeddings" / "val.npz"))
    assert names == {f"val/{name}" for name in values} != set()
    assert [logged[f"val/{name}"] for name in values] == pytest.approx(list(values.values()), abs=1e-6)
    assert not any("fnmr" in name for name in pd.read_csv(run / "csv" / "fit" / "metrics.csv"))


def test_training_is_watched(run: Path) -> None:
    history = pd.read_csv(run / "csv" / "fit" / "metrics.csv")
    looks = history.dropna(subset=["train/mean_hinge"])
    assert list(looks["step"]) == [29]  # the thirtieth step of 32
    assert list(looks["train/state_learning"]) == [1]
    same = looks["train/hinge_active_fraction"] - looks["train/active_triplet_fraction"]
    assert abs(float(same.iloc[0])) < 1e-6


def test_a_fast_development_run_leaves_no_table(run: Path, tmp_path: Path) -> None:
    words = ["fit", f"--config={run}/recipe.fit.yaml", "--trainer.fast_dev_run=1"]
    folder = main([*words, f"--runs_root={tmp_path}"])
    assert not (folder / "tables").exists()
