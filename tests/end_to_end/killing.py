"""A short fit that checkpoints every step, and what has to be equal in two finished runs."""

import csv
import json
import os
import signal
from pathlib import Path
from typing import Any

import lightning as L
import torch
import yaml

from tests import ROOT

DROPOUT = "{channels: [8, 8, 16, 16], stem_width: 8, drop_rate: 0.3, drop_path_rate: 0.2}"
ARMS = ("softmax", "triplet_memory")


class EndInStep(L.Callback):
    """SIGTERM in a step that a checkpoint resumes exactly, unless the fit goes on from one.

    At the last step of an epoch and in its validation none is written: steps before it are logged again then.
    """

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == 5 and trainer.ckpt_path is None:
            os.kill(os.getpid(), signal.SIGTERM)


def exact_words(words: list[str], arm: str, folder: Path, every_n_steps: int = 1) -> list[str]:
    """What a fit with dropout needs that writes `last.ckpt` every so many steps."""
    base = yaml.safe_load((ROOT / "configs" / "base.yaml").read_text())
    (latest,) = [c for c in base["trainer"]["callbacks"] if "LatestCheckpoint" in c["class_path"]]
    latest["init_args"]["every_n_steps"] = every_n_steps
    often = folder / f"every_{every_n_steps}.yaml"
    often.write_text(yaml.safe_dump({"trainer": {"callbacks": base["trainer"]["callbacks"]}}))
    kept = [word for word in words if "backbone_args" not in word and "runs_root" not in word]
    return [
        *kept,
        f"--config={ROOT}/configs/model/{arm}.yaml",
        f"--config={often}",
        f"--model.init_args.encoder.backbone_args={DROPOUT}",
        f"--name={arm}",
    ]


def outcome(run: Path) -> dict[str, Any]:
    """Everything that a resumed run has to share with an uninterrupted one."""
    latest = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    best = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    callbacks = {name: state for name, state in latest["callbacks"].items() if "Best" not in name}
    (scores,) = [state for name, state in latest["callbacks"].items() if "Best" in name]
    return {
        "parameters and buffers": latest["state_dict"],
        "optimizer": latest["optimizer_states"],
        "schedule": latest["lr_schedulers"],
        "step": (latest["epoch"], latest["global_step"]),
        "callbacks": callbacks,
        "best score": scores["best_model_score"],
        "best": (best["state_dict"], best["global_step"]),
        "metrics": json.loads((run / "metrics" / "val.json").read_text()),
        "history": history(run),
        "facts": json.loads((run / "facts.json").read_text()),
    }


def history(run: Path) -> dict[int, dict[str, str]]:
    """The last value of each number at each step, over the pieces that interruptions left."""
    rows: dict[int, dict[str, str]] = {}
    pieces = [f for f in (run / "csv").iterdir() if f.name.startswith("fit")]
    for piece in sorted(pieces, key=lambda f: int(f.name.partition("-")[2] or 0)):
        if not (piece / "metrics.csv").is_file():
            continue
        with (piece / "metrics.csv").open() as file:
            for row in csv.DictReader(file):
                values = {k: v for k, v in row.items() if v and k != "step"}
                rows.setdefault(int(row["step"]), {}).update(values)
    return rows


def differences(one: Any, two: Any, where: str = "") -> list[str]:
    """Places at which two nested structures differ; tensors have to be equal in every bit."""
    if isinstance(one, torch.Tensor):
        same = torch.equal(one, two) and one.dtype == two.dtype
        return [] if same else [where]
    if isinstance(one, dict):
        if one.keys() != two.keys():
            return [f"{where}: {sorted(map(str, one.keys() ^ two.keys()))}"]
        return [d for key in one for d in differences(one[key], two[key], f"{where}/{key}")]
    if isinstance(one, list | tuple):
        if len(one) != len(two):
            return [f"{where}: {len(one)} and {len(two)} long"]
        pairs = enumerate(zip(one, two, strict=True))
        return [d for i, (a, b) in pairs for d in differences(a, b, f"{where}/{i}")]
    same = one == two or (one != one and two != two)
    return [] if same else [f"{where}: {one} and {two}"]
