"""What both arms share, tested with a plain Trainer and no files."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from dml_lightning.losses import CrossEntropyLoss
from dml_lightning.models import EmbeddingModule, Encoder, SoftmaxModule, TripletModule
from dml_lightning.models.base import has_compiler
from dml_lightning.models.encoder import RawPixels
from dml_lightning.types import Embeddings
from tests.models.small import Blobs, loaders, make, optimizer, trainer

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")


@pytest.mark.parametrize("arm", [SoftmaxModule, TripletModule])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_both_arms_learn(tmp_path: Any, arm: type[EmbeddingModule], precision: Any) -> None:
    module = make(arm)
    train = DataLoader(Blobs(96), batch_size=24)
    fit = trainer(tmp_path, precision=precision, log_every_n_steps=1)
    fit.fit(module, train, loaders())
    sets = module.embeddings()
    reference, known = sets["reference"], sets["known"]
    nearest = torch.cdist(known.vectors, reference.vectors).argmin(1)
    assert (reference.labels[nearest] == known.labels).double().mean() > 0.9
    assert fit.callback_metrics["train/loss"] < 0.6
    assert (known.logits is not None) == (arm is SoftmaxModule)


class Watched(nn.Module):
    """A loss of one's own that notes in what precision it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[tuple[torch.dtype, bool]] = set()

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        product = embeddings @ embeddings.T
        self.seen |= {(each.dtype, torch.is_autocast_enabled("cpu")) for each in (embeddings, product)}
        return product.square().mean()


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("arm", [SoftmaxModule, TripletModule])
def test_mixed_precision_is_the_encoder_s_in_training_alone(
    tmp_path: Path, arm: type[EmbeddingModule], normalize: bool
) -> None:
    loss = Watched()
    module = make(arm, normalize=normalize, loss=loss)
    encoded: set[tuple[bool, torch.dtype]] = set()
    module.encoder.head.register_forward_hook(lambda head, _, out: encoded.add((head.training, out.dtype)))
    fit = trainer(tmp_path, precision="bf16-mixed", max_epochs=1)
    fit.fit(module, DataLoader(Blobs(24), batch_size=12), loaders())
    assert loss.seen == {(torch.float32, False)}
    assert encoded == {(True, torch.bfloat16), (False, torch.float32)}
    known = module.embeddings()["known"]
    predicted = Embeddings.joined(fit.predict(module, loaders()[1]))
    assert torch.equal(known.vectors, predicted.vectors)
    assert known.logits is None or torch.equal(known.logits, predicted.logits)
    with torch.no_grad():
        assert torch.allclose(known.vectors, module.eval()(Blobs(21, 1000).images), atol=1e-6)


def test_embeddings_come_ordered_without_copies(tmp_path: Any) -> None:
    module = make(TripletModule)
    known = Blobs(7)
    order = torch.tensor([6, 2, 5, 2, 0, 1, 3, 4, 0])  # two copies, as padding makes them
    shuffled = [known[int(i)] for i in order]
    given = loaders()
    given[1] = DataLoader(shuffled, batch_size=4)  # type: ignore[arg-type]
    trainer(tmp_path).validate(module, given, verbose=False)
    got = module.embeddings()["known"]
    assert got.index.tolist() == list(range(7))
    assert got.labels.tolist() == known.labels.tolist()
    with torch.no_grad():
        assert torch.allclose(got.vectors, module(known.images), atol=1e-6)
    assert got.features is not None
    assert torch.allclose(got.features, torch.nn.functional.normalize(known.images.flatten(1)), atol=1e-6)


class Theirs(L.LightningDataModule):
    """Somebody's data: crops of one loader each, as `Batch` or as the pairs that most datasets give."""

    def __init__(self, pairs: bool) -> None:
        super().__init__()
        blobs = Blobs(24)
        self.data: Any = list(zip(blobs.images, blobs.labels, strict=True)) if pairs else blobs

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.data, batch_size=12)

    val_dataloader = train_dataloader


def test_somebody_s_datamodule_yields_batches_or_is_told_to(tmp_path: Path) -> None:
    module = make(TripletModule)
    fit = trainer(tmp_path, max_epochs=1)
    fit.fit(module, Theirs(pairs=False))
    assert len(module.embeddings()["reference"]) == 24
    told = r"a batch came as list: .* or have your loader yield dml_lightning\.types\.Batch\(images \(B, 1, S, S\)"
    with pytest.raises(ValueError, match=told):
        trainer(tmp_path).fit(module, Theirs(pairs=True))
    with pytest.raises(ValueError, match=told):
        trainer(tmp_path).validate(module, Theirs(pairs=True))


@pytest.mark.parametrize("arm", [SoftmaxModule, TripletModule])
def test_predict_gives_embeddings_by_index(tmp_path: Path, arm: type[EmbeddingModule]) -> None:
    module, crops = make(arm), Blobs(7)
    shuffled = [crops[i] for i in (6, 2, 2, 5, 0, 1, 3, 4)]  # with a copy in the first batch, as padding makes it
    loader = DataLoader(shuffled, batch_size=4)  # type: ignore[arg-type]
    parts: Any = trainer(tmp_path).predict(module, loader)
    assert [part.index.tolist() for part in parts] == [[2, 5, 6], [0, 1, 3, 4]]
    found = Embeddings.joined(parts)
    assert found.labels.tolist() == crops.labels.tolist()
    with torch.no_grad():
        expected = module(crops.images)
        torch.testing.assert_close(found.vectors, expected)
        assert (found.logits is None) == (arm is TripletModule)
        if arm is SoftmaxModule:
            torch.testing.assert_close(found.logits, module.compute_logits(expected))
    several: Any = trainer(tmp_path).predict(module, [loader, loader])
    assert len(several) == 2
    with pytest.raises(ValueError, match="the index must increase from row to row"):
        Embeddings.joined([*parts, *parts])
    with pytest.raises(ValueError, match=r"came as Tensor: .* yield dml_lightning\.types\.Batch"):
        trainer(tmp_path).predict(module, DataLoader(crops.images))


def test_embeddings_before_any_evaluation_are_an_error() -> None:
    with pytest.raises(RuntimeError, match="none has run"):
        make(TripletModule).embeddings()


@pytest.mark.parametrize(
    ("arm", "arguments", "said"),
    [
        (TripletModule, {"loss": CrossEntropyLoss()}, "must be an EmbeddingLoss"),
        (SoftmaxModule, {"schedule": "linear"}, "schedule is 'linear'; use 'cosine' or 'constant'"),
        (TripletModule, {"optimizer": "adamw"}, "optimizer is a str; give the function that makes it"),
        (TripletModule, {"encoder": nn.Flatten()}, "encoder is a Flatten; give an Encoder"),
    ],
)
def test_what_an_arm_cannot_use_is_refused(arm: type[EmbeddingModule], arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make(arm, **arguments)


def test_crops_of_a_size_that_the_backbone_refuses_are_named() -> None:
    encoder = Encoder("vit_tiny_patch16_224", backbone_args={"depth": 1})
    module = SoftmaxModule(encoder, optimizer, num_classes=3)
    with pytest.raises(ValueError, match=r"crops of 32 px: .* encoder\.img_size: 32, a multiple"):
        module(torch.zeros(2, 1, 32, 32))


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_the_learning_rate_rises_and_falls_over_all_steps(tmp_path: Any, schedule: Any) -> None:
    module = make(SoftmaxModule, schedule=schedule, warmup=0.2)
    rates: list[float] = []

    class Watch(L.Callback):
        def on_train_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    fit = trainer(tmp_path, callbacks=[Watch()], max_epochs=5)
    fit.fit(module, DataLoader(Blobs(96), batch_size=24), loaders())
    assert len(rates) == 20
    assert rates[:4] == pytest.approx([0.5 * k / 5 for k in (1, 2, 3, 4)])
    expected = [0.5 * (1 + math.cos(math.pi * k / 16)) if schedule == "cosine" else 1 for k in range(16)]
    assert rates[4:] == pytest.approx([0.5 * factor for factor in expected])


def test_a_scheduler_of_one_s_own_replaces_the_schedule(tmp_path: Any) -> None:
    step = torch.optim.lr_scheduler.StepLR
    module = make(SoftmaxModule, scheduler=lambda o: step(o, step_size=1, gamma=0.1))
    fit = trainer(tmp_path, max_epochs=2)
    fit.fit(module, DataLoader(Blobs(24), batch_size=24), loaders())
    assert fit.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.5 * 0.01)


def test_a_wrong_warmup_is_refused() -> None:
    with pytest.raises(ValueError, match="0 <= warmup < 1"):
        make(SoftmaxModule, warmup=1.0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_channels_last_changes_the_layout_and_nothing_else() -> None:
    def made(channels_last: bool) -> TripletModule:
        torch.manual_seed(0)
        return TripletModule(Encoder("test_resnet"), optimizer, 3, channels_last=channels_last).eval()

    plain, last = made(False), made(True)
    layers = [layer for layer in last.modules() if isinstance(layer, nn.Conv2d)]
    assert all(c.weight.is_contiguous(memory_format=torch.channels_last) for c in layers)
    other = [layer for layer in plain.modules() if isinstance(layer, nn.Conv2d)]
    assert not all(c.weight.is_contiguous(memory_format=torch.channels_last) for c in other)
    images = torch.randn(2, 1, 32, 32)
    torch.testing.assert_close(last(images), plain(images))
    last.load_state_dict(plain.state_dict())
    assert all(c.weight.is_contiguous(memory_format=torch.channels_last) for c in layers)


def test_a_compiled_encoder_gives_the_same_embeddings(tmp_path: Any) -> None:
    plain, compiled = make(TripletModule), make(TripletModule, compile=True)
    images = Blobs(6).images
    assert torch.allclose(plain(images), compiled(images), atol=1e-6)
    assert plain.state_dict().keys() == compiled.state_dict().keys()


def test_a_floor_has_nothing_to_train(tmp_path: Path) -> None:
    floor = TripletModule(RawPixels(side=4), optimizer, num_classes=2)
    with pytest.raises(ValueError, match="TripletModule with the encoder RawPixels has nothing to train: evaluate it"):
        trainer(tmp_path).fit(floor, DataLoader(Blobs(96), batch_size=24), loaders())


def test_a_schedule_without_an_end_is_refused(tmp_path: Any) -> None:
    endless = trainer(tmp_path, max_epochs=-1, max_time="00:01:00:00")
    with pytest.raises(ValueError, match="max_epochs or max_steps beside max_time"):
        endless.fit(make(TripletModule), DataLoader(Blobs(96), batch_size=24), loaders())


def test_without_a_compiler_the_encoder_runs_uncompiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert make(TripletModule, compile=True).encoder._compiled_call_impl is not None
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.delenv("CC", raising=False)
    with pytest.warns(UserWarning, match="compile: true needs a compiler, and there is none"):
        module = make(TripletModule, compile=True)
    assert module.encoder._compiled_call_impl is None
    images = Blobs(6).images
    assert torch.equal(module(images), make(TripletModule)(images))
    variable = "CC" if torch.cuda.is_available() else "CXX"
    (tmp_path / "mine").touch(mode=0o755)
    monkeypatch.setenv(variable, "mine")
    assert has_compiler()


@pytest.mark.parametrize("arm", [SoftmaxModule, TripletModule])
def test_one_class_is_nothing_to_fit(tmp_path: Path, arm: type[EmbeddingModule]) -> None:
    module = make(arm)
    module.num_classes = 1
    with pytest.raises(ValueError, match="at least 2 known classes to tell apart, got 1"):
        trainer(tmp_path).fit(module, DataLoader(Blobs(24), batch_size=8), loaders())


@pytest.mark.parametrize("arm", [SoftmaxModule, TripletModule])
@pytest.mark.parametrize("clutter", [True, False])
def test_data_and_module_agree_on_clutter(tmp_path: Path, arm: type[EmbeddingModule], clutter: bool) -> None:
    class Data(L.LightningDataModule):
        has_clutter = not clutter

        def train_dataloader(self) -> DataLoader[Any]:
            return DataLoader(Blobs(24), batch_size=8)

        def val_dataloader(self) -> list[DataLoader[Any]]:
            return loaders()

    message = f"clutter={clutter}, and ood_train of the data names (no )?classes: give both or neither"
    with pytest.raises(ValueError, match=message):
        trainer(tmp_path).fit(make(arm, clutter=clutter), datamodule=Data())


def test_weights_of_another_module_are_named_in_one_sentence() -> None:
    other, module = make(SoftmaxModule), make(TripletModule)
    with pytest.raises(ValueError, match=r"^the checkpoint holds the weights of another arm .*: 2 of 4 tensors do not"):
        module.load_state_dict(other.state_dict())
    weights = module.state_dict()
    name = next(iter(weights))
    with pytest.raises(ValueError, match=rf"1 of 2 tensors do not fit, first {name}\."):
        module.load_state_dict({**weights, name: torch.zeros(1, 2, 3)})


@pytest.mark.parametrize(
    ("turned", "classes", "said"),
    [
        (4, 3, "made for turned_classes 1, and the data have 4"),
        (1, 5, "made for num_classes 3, and the data have 5 known classes: give it num_classes=data.num_classes"),
    ],
)
@pytest.mark.parametrize("arm", [SoftmaxModule, TripletModule])
def test_a_model_for_other_classes_than_the_data_have_is_refused(
    tmp_path: Path, arm: type[EmbeddingModule], turned: int, classes: int, said: str
) -> None:
    class Other(L.LightningDataModule):
        turned_classes, num_classes = turned, classes

        def train_dataloader(self) -> DataLoader[Any]:
            return DataLoader(Blobs(24), batch_size=8)

        def val_dataloader(self) -> list[DataLoader[Any]]:
            return loaders()  # type: ignore[return-value]

    with pytest.raises(ValueError, match=said):
        trainer(tmp_path).fit(make(arm), Other())


def test_data_that_do_not_tell_their_number_of_classes_are_taken() -> None:
    module = make(TripletModule)
    for told in (None, lambda: 5):
        module._trainer = SimpleNamespace(datamodule=SimpleNamespace(num_classes=told))  # type: ignore[assignment]
        module.on_fit_start()


@pytest.mark.parametrize("arm", [SoftmaxModule, TripletModule])
@pytest.mark.parametrize("label", [3, -2])
def test_a_label_without_a_class_is_refused(tmp_path: Path, arm: type[EmbeddingModule], label: int) -> None:
    crops = Blobs(24)
    crops.labels[20] = label  # not in the first batch
    with pytest.raises(ValueError, match=f"has the label {label}, and the model was made for num_classes 3, .* 0 to 2"):
        trainer(tmp_path).fit(make(arm), DataLoader(crops, 8), loaders())
