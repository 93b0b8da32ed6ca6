"""W ranks under Lightning's own strategy give what one process gives: batches, parameters, metrics."""

import json
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from typing_extensions import override

from dml_lightning import callbacks, distributed
from dml_lightning.data import ThermalWaterfowlDataModule
from dml_lightning.data.sources import CocoJson
from dml_lightning.losses import TripletLoss
from dml_lightning.models import EmbeddingModule, Encoder, SoftmaxModule, TripletModule

CROPS = 24  # of a global batch, whatever the number of ranks
STEPS = 4  # of an epoch
TINY: dict[str, Any] = {"channels": [8, 8, 16, 16], "stem_width": 8}


@pytest.fixture
def make_data(flights: Path, tmp_path: Path) -> Any:
    def make(ranks: int, sampler: str = "pk", **options: Any) -> ThermalWaterfowlDataModule:
        return ThermalWaterfowlDataModule(
            CocoJson(flights, annotations="annotations.json"),
            known=["canada_goose", "gadwall", "mallard", "snow_goose"],
            novel_val=["sandhill_crane"],
            ood_val=["dead_pixel"],
            sampler=sampler,
            classes_per_batch=4,
            samples_per_class=CROPS // 4 // ranks,
            batches_per_epoch=STEPS,
            min_side=32,
            cache_dir=str(tmp_path / "cache"),
            **options,
        )

    return make


def make_module(arm: str, norm: str | None = "groupnorm1", **options: Any) -> EmbeddingModule:
    torch.manual_seed(0)
    encoder = Encoder(embedding_dim=8, backbone_args=TINY | ({"norm_layer": norm} if norm else {}))
    optimizer = options.pop("optimizer", torch.optim.AdamW)
    common = {"schedule": "constant", "warmup": 0.0}
    if arm == "softmax":
        return SoftmaxModule(encoder, optimizer, 4, **common)
    return TripletModule(encoder, optimizer, 4, TripletLoss(margin=0.3), **common)


def make_trainer(ranks: int, folder: Path, **options: Any) -> L.Trainer:
    settings: dict[str, Any] = {
        "default_root_dir": folder,
        "max_epochs": 2,
        "accelerator": "cpu",
        "devices": ranks,
        "strategy": "ddp_fork" if ranks > 1 else "auto",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "use_distributed_sampler": False,
        "num_sanity_val_steps": 0,
        "limit_val_batches": 0,
    }
    return L.Trainer(**{**settings, **options})


def parameters(module: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])


# Batches ---------------------------------------------------------------------------------------


class Seen(L.Callback):
    """Writes down which crops each rank trains on, and can keep checkpoints on the way."""

    def __init__(self, folder: Path, keep: int | None = None) -> None:
        self.folder, self.keep = folder, keep
        self.batches: list[list[int]] = []

    @override
    def on_train_batch_end(self, trainer: L.Trainer, *rest: Any) -> None:
        self.batches.append(rest[2].index.tolist())
        if trainer.global_step == self.keep:
            trainer.save_checkpoint(self.folder / "kept.ckpt")

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        path = self.folder / f"seen-{trainer.global_rank}.json"
        path.write_text(json.dumps(self.batches))


def fit_and_see(ranks: int, data: Any, folder: Path, keep: int | None = None, **fit: Any) -> Any:
    """Batches (steps, ranks, crops) of a fit of two epochs."""
    folder.mkdir(exist_ok=True)
    trainer = make_trainer(ranks, folder, callbacks=[Seen(folder, keep)])
    trainer.fit(make_module("triplet"), datamodule=data, **fit)
    seen = [json.loads((folder / f"seen-{r}.json").read_text()) for r in range(ranks)]
    return list(zip(*seen, strict=True))  # equally many steps on every rank


@pytest.mark.parametrize("sampler", ["pk", "shuffled"])
def test_ranks_share_the_batches_of_one_process(make_data: Any, tmp_path: Path, sampler: str) -> None:
    alone = fit_and_see(1, make_data(1, sampler), tmp_path / "one")
    whole = fit_and_see(2, make_data(2, sampler), tmp_path / "two", keep=STEPS + 1)
    assert len(alone) == len(whole) == 2 * STEPS
    for (one,), two in zip(alone, whole, strict=True):
        assert sorted(one) == sorted(two[0] + two[1])
        assert len(two[0]) == len(two[1]) == CROPS // 2
    for first, second in zip(whole[:STEPS], whole[STEPS:], strict=True):
        assert first != second  # each epoch has a plan of its own
    resumed = fit_and_see(
        2, make_data(2, sampler), tmp_path / "resumed", ckpt_path=tmp_path / "two" / "kept.ckpt", weights_only=True
    )
    assert resumed == whole[STEPS + 1 :]


# Parameters ------------------------------------------------------------------------------------


def fitted(ranks: int, arm: str, data: Any, folder: Path, **options: Any) -> Tensor:
    module = options.pop("module", None) or make_module(arm, **options.pop("model", {}))
    trainer = make_trainer(ranks, folder, **options)
    trainer.fit(module, datamodule=data)
    return parameters(module)


@pytest.mark.parametrize(
    ("arm", "sampler", "ranks"),
    [
        ("softmax", "pk", 2),
        ("softmax", "shuffled", 2),
        ("softmax", "shuffled", 3),
        ("triplet", "pk", 2),
        ("triplet", "pk", 3),
        ("triplet", "shuffled", 2),
    ],
)
def test_a_fit_gives_the_parameters_of_one_process(
    make_data: Any, tmp_path: Path, arm: str, sampler: str, ranks: int
) -> None:
    options = {"precision": "64-true", "arm": arm, "folder": tmp_path}
    begin = parameters(make_module(arm)).double()
    alone = fitted(1, data=make_data(1, sampler), **options)
    together = fitted(ranks, data=make_data(ranks, sampler), **options)
    assert alone.dtype == torch.float64
    assert (alone - begin).norm() > 0.1
    assert (together - alone).norm() < 1e-5 * (alone - begin).norm()


def test_in_float32_the_fits_agree_to_rounding(make_data: Any, tmp_path: Path) -> None:
    sgd = {"optimizer": lambda p: torch.optim.SGD(p, lr=0.05)}
    begin = parameters(make_module("triplet"))
    alone = fitted(1, "triplet", make_data(1), tmp_path, model=dict(sgd))
    together = fitted(2, "triplet", make_data(2), tmp_path, model=dict(sgd))
    assert (together - alone).norm() < 1e-4 * (alone - begin).norm()


class GatheredNorm(nn.BatchNorm2d):
    """Batch norm by the definition, over the rows of all ranks: PyTorch's own runs on GPUs only."""

    @override
    def forward(self, input: Tensor) -> Tensor:
        every = distributed.gather_with_grad(input)
        variance, mean = torch.var_mean(every, (0, 2, 3), correction=0, keepdim=True)
        normal = (input - mean) / (variance + self.eps).sqrt()
        return normal * self.weight[:, None, None] + self.bias[:, None, None]


def with_norm(kind: type[nn.Module], arm: str = "triplet") -> EmbeddingModule:
    module = make_module(arm, norm=None)
    for name, layer in list(module.named_modules()):
        if type(layer) is nn.BatchNorm2d:
            module.set_submodule(name, kind(layer.num_features))
    return module


def test_batch_norm_needs_the_global_batch(make_data: Any, tmp_path: Path) -> None:
    """With statistics over all ranks nothing changes; with each rank's own it is another training."""
    options = {"arm": "triplet", "folder": tmp_path, "precision": "64-true"}
    begin = parameters(with_norm(nn.BatchNorm2d)).double()
    alone = fitted(1, data=make_data(1), module=with_norm(nn.BatchNorm2d), **options)
    share = {}
    for kind in (GatheredNorm, nn.BatchNorm2d):
        together = fitted(2, data=make_data(2), module=with_norm(kind), **options)
        share[kind] = float((together - alone).norm() / (alone - begin).norm())
    assert share[GatheredNorm] < 1e-4
    assert share[nn.BatchNorm2d] > 0.01


# Metrics ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("arm", "split"), [("softmax", {}), ("triplet", {"split_fractions": [0.3, 0.5, 0.2]})])
def test_metrics_do_not_depend_on_the_number_of_ranks(
    make_data: Any, tmp_path: Path, arm: str, split: dict[str, Any]
) -> None:
    """With 4 ranks known crops do not divide, and in one split there are fewer novel and OOD crops than ranks.

    That split leaves validation one flight, the other several: checkpoints are chosen by different numbers.
    """
    found = {}
    for ranks in (1, 2, 3, 4):
        data = make_data(1, eval_batch_size=3, **split)
        sizes = [len(data.rows(role, "val")) for role in ("known", "novel", "ood")]
        assert sizes[0] % 4
        assert split or min(sizes) < 4
        trainer = make_trainer(
            ranks,
            tmp_path / str(ranks),
            limit_val_batches=1.0,
            callbacks=[getattr(callbacks, name)() for name in callbacks.__all__],
        )
        trainer.validate(make_module(arm), datamodule=data, verbose=False)
        found[ranks] = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert {"val/map_at_r", "val/novel_map_at_r", "val/ood_auroc"} <= found[1].keys()
    metric = "map_at_r_other_groups" if split else "map_at_r"
    assert found[1]["val/selection_map_at_r"] == found[1][f"val/{metric}"]
    assert found[1]["val/map_at_r"] != found[1].get("val/map_at_r_other_groups")
    for ranks in (2, 3, 4):
        assert found[ranks] == pytest.approx(found[1], abs=1e-6, nan_ok=True), ranks
