"""What a run writes down of itself, for the comparison with others."""

import json
from functools import partial
from pathlib import Path

import torch

from dml_lightning.callbacks import RunWriter
from dml_lightning.models import Encoder, SoftmaxModule
from tests.end_to_end.plain import plain_data, plain_trainer


def test_the_samples_seen_are_counted(flights: Path, tmp_path: Path) -> None:
    data = plain_data(flights, tmp_path, batches_per_epoch=4)
    trainer = plain_trainer(tmp_path, 2, [RunWriter()])
    trainer.accumulate_grad_batches = 3  # the second step of an epoch takes one batch
    encoder = Encoder("test_convnext", embedding_dim=8)
    module = SoftmaxModule(encoder, partial(torch.optim.SGD, lr=0.01), data.num_classes)
    trainer.fit(module, datamodule=data)
    assert trainer.global_step == 4
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert facts["samples_seen"] == 2 * 4 * 16
