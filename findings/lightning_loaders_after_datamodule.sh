#!/usr/bin/env bash
# Guess, before anything was run: Trainer.predict with loaders has nothing to do with the datamodule that the same trainer
# was fitted with before, as its hooks belong to its own loaders.
# Seen (lightning 2.6.6): the datamodule stays attached by half. Its setup("predict") and teardown("predict") are called, so
# that one which refuses predictions there refuses loaders that are not its own; its on_after_batch_transfer is not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "lightning==2.6.6" "torch==2.15.0" numpy
cd "$folder"
venv/bin/python -W ignore - <<'PYTHON'
import logging

import lightning as L
import torch
from lightning.pytorch.demos.boring_classes import BoringModel
from torch.utils.data import DataLoader

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
calls = []


class Tenfold(L.LightningDataModule):
    def setup(self, stage):
        calls.append(f"setup {stage.value}")

    def teardown(self, stage):
        calls.append(f"teardown {stage.value}")

    def train_dataloader(self):
        return DataLoader(torch.ones(4, 32), batch_size=2)

    def on_after_batch_transfer(self, batch, dataloader_idx):
        return 10 * batch


class Total(BoringModel):
    def predict_step(self, batch, batch_idx):
        return float(batch.sum())


def trainer():
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    return L.Trainer(max_epochs=1, limit_val_batches=0, enable_model_summary=False, **quiet)


print("lightning", L.__version__)
model, foreign = Total(), DataLoader(torch.ones(2, 32), batch_size=2)
fresh = trainer().predict(model, foreign)
fitted = trainer()
fitted.fit(model, datamodule=Tenfold())
calls.clear()
after = fitted.predict(model, foreign)
print("fresh trainer ", fresh)
print("fitted trainer", after, calls)
assert fresh == after == [64.0]
assert calls == ["setup predict", "teardown predict"]
PYTHON
