"""The parts without the command line, and a fit on two ranks against one."""

import json
from pathlib import Path

import lightning as L
import pytest
import torch

from dml_lightning import callbacks
from dml_lightning.cli import main
from dml_lightning.losses import TripletLoss
from dml_lightning.models import Encoder, TripletModule
from dml_lightning.types import SETS, Embeddings
from tests import ROOT
from tests.end_to_end.plain import plain_data, plain_trainer

NO_BATCH_NORM = "{channels: [8, 8, 16, 16], stem_width: 8, norm_layer: groupnorm1}"


def test_a_plain_trainer_is_enough(flights: Path, tmp_path: Path) -> None:
    data = plain_data(
        flights,
        tmp_path,
        novel_test=["sandhill_crane", "tundra_swan"],
        ood_test=["mammal", "debris"],
        unseen_groups="all",
        batches_per_epoch=3,
        min_side=32,
    )
    encoder = Encoder("test_convnext", embedding_dim=8)
    module = TripletModule(encoder, torch.optim.AdamW, data.num_classes, TripletLoss(margin=0.3))
    every = [getattr(callbacks, name)() for name in callbacks.__all__]
    trainer = plain_trainer(tmp_path, 1, every)
    trainer.fit(module, datamodule=data)
    assert {"train/loss", "val/map_at_r"} <= set(trainer.callback_metrics)
    trainer.test(module, datamodule=data, verbose=False)
    assert {"test/ood_auroc_mammal", "test/novel_map_at_r"} <= set(trainer.callback_metrics)
    with pytest.raises(ValueError, match="name the set to embed"):
        trainer.predict(module, datamodule=data)
    every_set = trainer.predict(module, data.test_dataloader())
    known = Embeddings.joined(every_set[SETS.index("known")])
    torch.testing.assert_close(known.vectors, module.embeddings()["known"].vectors)
    bare = L.Trainer(fast_dev_run=1, accelerator="cpu", logger=False, use_distributed_sampler=False)
    with pytest.raises(ValueError, match="came as TrainingBatch: give the trainer a Thermal"):
        bare.fit(module, data.train_dataloader(), data.val_dataloader())


@pytest.mark.parametrize("arm", ["softmax", "triplet"])
def test_two_ranks_give_what_one_gives(words: list[str], tmp_path: Path, arm: str) -> None:
    """The same global batches, an encoder without batch statistics: the same metrics, ranks or not."""
    kept = [word for word in words if "encoder.backbone" not in word and "samples_per" not in word]
    common = [
        *kept,
        f"--config={ROOT}/configs/model/{arm}.yaml",
        f"--model.init_args.encoder.backbone_args={NO_BATCH_NORM}",
        "--tracking.wandb=disabled",
        f"--runs_root={tmp_path}",
    ]
    one = main(["fit", *common, "--name=one", "--data.samples_per_class=8"])
    ranks = ["--trainer.strategy=ddp_fork", "--trainer.devices=2", "--data.samples_per_class=4"]
    two = main(["fit", *common, "--name=two", *ranks])
    metrics = [json.loads((run / "metrics" / "val.json").read_text()) for run in (one, two)]
    assert metrics[0].keys() == metrics[1].keys()
    for name, value in metrics[0].items():
        assert metrics[1][name] == pytest.approx(value, abs=2e-3, rel=2e-2), name
    weights = [torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for run in (one, two)]
    for name, tensor in weights[0].items():
        assert torch.allclose(tensor, weights[1][name], atol=1e-3), name
