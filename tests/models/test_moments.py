"""A fit goes on from a checkpoint whose weights lie otherwise in memory."""

from functools import partial
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from dml_lightning.models import Encoder, TripletModule
from tests.models.small import Blobs, loaders, make, trainer

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")


def test_moments_of_a_fused_optimizer_stay_with_their_weights(tmp_path: Path) -> None:
    optimizer = partial(torch.optim.AdamW, lr=0.01, fused=True)
    small = {"channels": [8, 8, 8, 8], "stem_width": 4}

    def fit(channels_last: bool, epochs: int, checkpoint: Path | None = None) -> list[torch.Tensor]:
        torch.manual_seed(0)
        encoder = Encoder("resnet10t_narrow", 4, backbone_args=small)
        module = make(
            TripletModule, encoder=encoder, optimizer=optimizer, channels_last=channels_last, schedule="constant"
        )
        fitting = trainer(tmp_path, max_epochs=epochs, limit_val_batches=0, precision="64-true")
        fitting.fit(module, DataLoader(Blobs(24), batch_size=8), loaders(), ckpt_path=checkpoint, weights_only=True)
        if checkpoint is None:
            fitting.save_checkpoint(tmp_path / "last.ckpt")
        return [each.detach() for each in module.parameters()]

    fit(False, 1)
    same, other = (fit(layout, 2, tmp_path / "last.ckpt") for layout in (False, True))
    torch.testing.assert_close(other, same, rtol=0, atol=1e-6)
