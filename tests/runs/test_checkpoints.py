"""How much a kill can cost: when `last.ckpt` is written."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
from lightning.pytorch.demos.boring_classes import BoringModel

from dml_lightning.runs import checkpoints

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
