"""When checkpoints are written, and which epoch is the best of a fit that goes on."""

import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import yaml
from lightning.pytorch.demos.boring_classes import BoringModel

from dml_lightning.runs import checkpoints
from dml_lightning.runs.checkpoints import BestCheckpoint, LatestCheckpoint
from dml_lightning.runs.folder import SELECTION
from tests import ROOT

SETTINGS: dict[str, tuple[dict[str, Any], list[int]]] = {
    "nothing in the way": ({"max_epochs": 2, "limit_train_batches": 6}, [4, 6, 8, 12]),
    "at the end of epochs": ({"max_steps": 10, "limit_train_batches": 4}, [5, 9, 10]),
    "before validations": ({"limit_train_batches": 10, "val_check_interval": 4}, [5, 9, 10]),
    "amid accumulation": (
        {"limit_train_batches": 19, "accumulate_grad_batches": 2, "val_check_interval": 16},
        [4, 9, 10],
    ),
}


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*PossibleUserWarning")
@pytest.mark.parametrize("setting", SETTINGS)
def test_what_is_due_where_no_fit_resumes_is_written_soon_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    more, expected = SETTINGS[setting]
    steps: list[int] = []
    monkeypatch.setattr(checkpoints, "save_latest", lambda t: steps.append(t.global_step))
    L.Trainer(
        default_root_dir=tmp_path,
        accelerator="cpu",
        callbacks=checkpoints.LatestCheckpoint(4),
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=1,
        num_sanity_val_steps=0,
        **{"max_epochs": -1 if "max_steps" in more else 1, **more},
    ).fit(BoringModel())
    assert steps == expected


LAST = "checkpoints/last.ckpt"


class Worsens(BoringModel):
    """Scores 1, 1/2, 1/3, ..."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("score", 1 / (1 + self.current_epoch))


def fit(folder: Path, epochs: int, checkpoint: Path | None = None) -> int:
    """Fits with two steps an epoch; the step of the best checkpoint in the folder."""
    trainer = L.Trainer(
        default_root_dir=folder,
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=[LatestCheckpoint(), BestCheckpoint("score")],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_train_batches=2,
        limit_val_batches=1,
        num_sanity_val_steps=0,
    )
    trainer.fit(Worsens(), ckpt_path=checkpoint)
    best = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    return int(best["global_step"])


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:Checkpoint directory .* exists")
def test_the_best_epoch_is_kept_where_its_file_is(tmp_path: Path) -> None:
    assert fit(tmp_path / "first", 1) == 2
    shutil.copytree(tmp_path / "first", tmp_path / "moved")
    assert fit(tmp_path / "moved", 2, tmp_path / "moved" / LAST) == 2
    # a new folder has no earlier file, and needs one
    assert fit(tmp_path / "new", 3, tmp_path / "first" / LAST) == 4


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_the_latest_checkpoint_knows_the_best_of_its_epoch_in_any_order(tmp_path: Path) -> None:
    fit(tmp_path, 1)
    callbacks = torch.load(tmp_path / LAST, weights_only=True)["callbacks"]
    (state,) = [own for name, own in callbacks.items() if "BestCheckpoint" in name]
    assert state["best_model_score"] == 1


class Harmless:
    """Makes a folder when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("unpickled",)


@pytest.mark.parametrize("weights_only", [None, True, False])
def test_a_checkpoint_is_read_as_values_whatever_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights_only: bool | None
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "best.ckpt"
    files = checkpoints.AtomicCheckpointIO()
    files.save_checkpoint({"state_dict": {"weight": torch.ones(2)}, "epoch": 3}, path)
    assert files.load_checkpoint(path, weights_only=weights_only)["epoch"] == 3
    torch.save({"state_dict": Harmless()}, path)
    with pytest.raises(ValueError, match=r"best\.ckpt \(\d+ bytes\) is no checkpoint of dml fit"):
        files.load_checkpoint(path, weights_only=weights_only)
    assert not (tmp_path / "unpickled").exists()


@pytest.mark.parametrize("content", [b"", b"text\n", b"PK\x03\x04", pickle.dumps({"state_dict": {}}, 4)])
def test_a_file_that_is_no_checkpoint_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "last.ckpt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"last\.ckpt \({len(content)} bytes\) is no checkpoint of dml fit"):
        checkpoints.read_checkpoint(path)


def test_shipped_configs_choose_by_the_one_key() -> None:
    base = yaml.safe_load((ROOT / "configs" / "base.yaml").read_text(encoding="utf-8"))
    (best,) = [each for each in base["trainer"]["callbacks"] if each["class_path"].endswith(".BestCheckpoint")]
    assert best["init_args"] == {"monitor": SELECTION, "mode": "max"}
    assert BestCheckpoint().monitor == SELECTION
    for path in (ROOT / "configs" / "sweep").glob("*.yaml"):
        sweep = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert sweep["metric"] == {"name": SELECTION, "goal": "maximize"}, path
    searched = yaml.safe_load((ROOT / "configs" / "experiment" / "searched.yaml").read_text(encoding="utf-8"))
    assert searched["search"]["metric"] == SELECTION
