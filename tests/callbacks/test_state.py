"""Each state of training happens here in a real, short fit."""

import math
import time
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
import wandb
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch.loggers import CSVLogger, WandbLogger
from torch import Tensor
from torch.utils.data import DataLoader

from dml_lightning.callbacks import ActiveTriplets, TrainingState
from dml_lightning.callbacks.state import STATES, Look, look, training_state
from dml_lightning.losses import TripletLoss
from dml_lightning.models import EmbeddingModule, SoftmaxModule, TripletModule
from dml_lightning.types import CLUTTER
from tests.models import small

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
]


class Blobs(small.Blobs):
    """48 crops of three classes, each a bright pixel at its own place in noise."""

    def __init__(self, noise: float = 0.3, copies: int = 1, shuffled: bool = False) -> None:
        generator = torch.Generator().manual_seed(0)
        self.index = torch.arange(48) // copies
        self.labels = self.index % 3
        self.images = noise * torch.randn(48, 1, 8, 8, generator=generator)
        self.images[torch.arange(48), 0, 2 * self.labels, 2] += 4
        if shuffled:
            self.labels = self.labels[torch.randperm(48, generator=generator)]


def triplet(lr: float = 0.5, normalize: bool = True, **loss: Any) -> EmbeddingModule:
    torch.manual_seed(0)
    return TripletModule(
        small.Flat(normalize),
        lambda parameters: torch.optim.SGD(parameters, lr=lr),
        num_classes=3,
        loss=TripletLoss(**loss),
        allow_infeasible_margin=True,
        schedule="constant",
        warmup=0.0,
    )


def trainer(tmp_path: Path, steps: int, *callbacks: L.Callback, **arguments: Any) -> L.Trainer:
    quiet = {"enable_checkpointing": False, "enable_progress_bar": False}
    silent = {"enable_model_summary": False, "accelerator": "cpu", "default_root_dir": tmp_path}
    logger: Any = arguments.pop("logger", CSVLogger(tmp_path))
    settings: dict[str, Any] = {"max_epochs": steps, "log_every_n_steps": 1, "logger": logger}
    return L.Trainer(callbacks=list(callbacks), **settings, **quiet, **silent, **arguments)


def fit(
    tmp_path: Path, module: EmbeddingModule, data: Blobs, steps: int = 25, **settings: Any
) -> tuple[TrainingState, L.Trainer]:
    watch = TrainingState(**{"every_n_steps": 1, "window": 6, **settings})
    run = trainer(tmp_path, steps, watch)
    run.fit(module, DataLoader(data, batch_size=48))
    return watch, run


def logged_state(run: L.Trainer) -> str:
    held = [name for name in STATES if run.callback_metrics[f"train/state_{name}"] == 1]
    assert len(held) == 1
    return held[0]


# Every state, in a fit ----------------------------------------------------------------------------


def test_learning(tmp_path: Path) -> None:
    _, run = fit(tmp_path, triplet(lr=0.05, margin=1.0), Blobs(noise=1.0), steps=12)
    assert logged_state(run) == "learning"
    assert run.callback_metrics["train/hinge_active_fraction"] > 0


def test_satisfied(tmp_path: Path) -> None:
    _, run = fit(tmp_path, triplet(margin=0.1), Blobs(noise=0.1), steps=40, stop=True)
    assert logged_state(run) == "satisfied"
    assert run.callback_metrics["train/mean_hinge"] == 0
    assert run.callback_metrics["train/worst_anchor_gap"] >= 0
    assert run.global_step == 40  # not a bad state


def test_infeasible(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"infeasible at step 1 with margin 1\.9: .*at most 1\.7321"):
        _, run = fit(tmp_path, triplet(margin=1.9), Blobs(), steps=3)
    assert logged_state(run) == "infeasible"


@pytest.mark.parametrize(
    "module",
    [
        triplet(margin=1.73),
        triplet(margin=1.9, normalize=False),
        triplet(margin=1.9, soft=True),
        triplet(margin=2.9, distance="squared_euclidean"),
    ],
)
def test_not_infeasible(tmp_path: Path, module: EmbeddingModule) -> None:
    _, run = fit(tmp_path, module, Blobs(), steps=3)
    assert logged_state(run) == "learning"


def test_collapsed(tmp_path: Path) -> None:
    module = triplet(lr=2.0, margin=0.2, mining="hard", reduction="mean")
    with pytest.warns(UserWarning, match="Training is collapsed at step"):
        _, run = fit(tmp_path, module, Blobs(0.05, shuffled=True), steps=300, window=200)
    assert logged_state(run) == "collapsed"
    assert run.callback_metrics["train/mean_hinge"] == pytest.approx(0.2, rel=0.05)
    assert run.callback_metrics["train/triplet_inter"] < 0.05


def test_stalled(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Training is stalled at step 6") as told:
        _, run = fit(tmp_path, triplet(lr=1e-9, margin=0.5), Blobs(noise=2.0), steps=20)
    assert logged_state(run) == "stalled"
    assert sum("Training is" in str(one.message) for one in told) == 1
    assert run.global_step == 20


def test_noisy(tmp_path: Path) -> None:
    module = triplet(lr=0.05, margin=0.02)
    with pytest.warns(UserWarning, match="noisy.*augmentations of one crop"):
        _, run = fit(tmp_path, module, Blobs(noise=1.0, copies=2), steps=8)
    assert logged_state(run) == "noisy"
    assert run.callback_metrics["train/augmentation_distance"] > 0.02


def test_copies_closer_than_the_margin_are_no_noise(tmp_path: Path) -> None:
    _, run = fit(tmp_path, triplet(lr=0.05, margin=1.7), Blobs(noise=1.0, copies=2), steps=8)
    assert logged_state(run) == "learning"
    assert 0 < run.callback_metrics["train/augmentation_distance"] < 1.7


@pytest.mark.parametrize("stop", [True, False])
def test_stop(tmp_path: Path, stop: bool) -> None:
    with pytest.warns(UserWarning, match="stalled"):
        _, run = fit(tmp_path, triplet(lr=1e-9, margin=0.5), Blobs(2.0), steps=20, stop=stop)
    assert run.global_step == (6 if stop else 20)


def test_the_softmax_arm_is_watched_with_the_callback_s_margin(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = SoftmaxModule(small.Flat(), lambda p: torch.optim.SGD(p, lr=0.5), num_classes=3)
    _, run = fit(tmp_path, module, Blobs(noise=2.0), steps=10, margin=0.6)
    assert logged_state(run) == "learning"
    active = ActiveTriplets(margin=0.6)
    again = trainer(tmp_path, 1, TrainingState(margin=0.6, every_n_steps=1), active)
    again.fit(module, DataLoader(Blobs(noise=2.0), batch_size=48))
    got = again.callback_metrics
    assert got["train/hinge_active_fraction"] == got["train/active_triplet_fraction"] > 0


class Rates(L.Callback):
    """Sets the learning rate of each step."""

    def __init__(self, rates: list[float]) -> None:
        self.rates = rates

    def on_train_batch_start(self, trainer: L.Trainer, *arguments: Any) -> None:
        trainer.optimizers[0].param_groups[0]["lr"] = self.rates[trainer.global_step]


def test_a_state_entered_again_is_not_told_again(tmp_path: Path) -> None:
    watch, states = TrainingState(every_n_steps=1, window=4), []

    class Keep(L.Callback):
        def on_train_batch_end(self, *arguments: Any) -> None:
            states.append(watch.state)

    rates = Rates([1e-9] * 6 + [0.02] * 6 + [1e-9] * 6)
    run = trainer(tmp_path, 18, rates, watch, Keep())
    with pytest.warns(UserWarning, match="stalled") as told:
        run.fit(triplet(margin=0.5), DataLoader(Blobs(2.0), batch_size=48))
    assert [name for i, name in enumerate(states) if states[i - 1 : i] != [name]] == [
        "learning", "stalled", "learning", "stalled",
    ]  # fmt: skip
    assert sum("Training is" in str(one.message) for one in told) == 1


# What is logged -----------------------------------------------------------------------------------


def slow_look(x: Tensor, y: Tensor, index: Tensor, margin: float, squared: bool) -> list[float]:
    """Triplet by triplet."""
    v, n = x.double().numpy(), len(x)
    d = np.linalg.norm(v[:, None] - v, axis=2) ** (2 if squared else 1)
    triplets = [
        (a, d[a, p], d[a, q])
        for a in range(n)
        for p in range(n)
        for q in range(n)
        if a != p and y[a] == y[p] and y[a] != y[q]
    ]
    anchors, near, far = (np.array(part) for part in zip(*triplets, strict=True))
    gaps = far - near - margin
    copies = [d[i, j] for i in range(n) for j in range(i) if index[i] == index[j]]
    return [
        np.maximum(-gaps, 0).mean(),
        (gaps < 0).mean(),
        near.mean(),
        far.mean(),
        gaps.mean(),
        far.min() - near.max() - margin,
        min(far[anchors == a].min() - near[anchors == a].max() for a in set(anchors)) - margin,
        np.sqrt((v**2).sum(1).mean()),
        np.mean(copies) if copies else math.nan,
    ]


def batch(seed: int = 0, copies: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """14 crops in four unequal classes, one a singleton; two of them twice."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.tensor([3, 0, 0, 1, 2, 1, 0, 2, 0, 0, 1, 2, 0, 1])
    index = torch.arange(14) if not copies else torch.tensor([*range(12), 1, 3])
    return torch.randn(14, 3, generator=generator), labels, index


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("copies", [False, True])
def test_a_look_sees_what_a_loop_over_triplets_does(squared: bool, copies: bool) -> None:
    x, y, index = batch(copies=copies)
    got = look(x, y, index, 0.4, squared)
    assert got is not None
    expected = slow_look(x, y, index, 0.4, squared)
    assert list(got) == pytest.approx(expected, rel=1e-5, nan_ok=True)


def _look_on_a_rank(x: Tensor, y: Tensor, index: Tensor) -> Any:
    return tuple(look(x, y, index, 0.4) or ())


def test_ranks_see_the_global_batch(gloo: Any) -> None:
    x, y, index = batch()
    parts = [[t[:5], t[5:]] for t in (x, y, index)]
    whole = look(x, y, index, 0.4)
    assert gloo(2).run(_look_on_a_rank, *parts) == [tuple(whole or ())] * 2


def test_a_look_leaves_clutter_out() -> None:
    g = torch.Generator().manual_seed(0)
    vectors, labels, index = torch.randn(30, 4, generator=g), torch.arange(30) % 5, torch.arange(30) // 2
    known = labels != 4
    mixed = look(vectors, torch.where(known, labels, CLUTTER), index, 0.2)
    assert mixed == look(vectors[known], labels[known], index[known], 0.2)
    assert mixed != look(vectors, labels, index, 0.2)


def test_no_triplet_no_look() -> None:
    x, _, index = batch()
    assert look(x, torch.zeros(14, dtype=torch.int64), index, 0.2) is None


def test_a_fit_without_triplets_logs_nothing(tmp_path: Path) -> None:
    data = Blobs()
    data.labels = torch.zeros(48, dtype=torch.int64)
    _, run = fit(tmp_path, triplet(), data, steps=2)
    assert not [key for key in run.callback_metrics if "state" in key or "hinge" in key]


def test_embeddings_that_are_not_finite_end_training(tmp_path: Path) -> None:
    data = Blobs()
    data.images[3] = torch.nan
    module = SoftmaxModule(small.Flat(), lambda p: torch.optim.SGD(p, lr=0.5), num_classes=3)
    with pytest.raises(ValueError, match="must be finite"):
        fit(tmp_path, module, data, steps=2)


def test_a_look_every_n_optimizer_steps(tmp_path: Path) -> None:
    watch = TrainingState(every_n_steps=2, window=50)
    run = trainer(tmp_path, 5, watch, accumulate_grad_batches=2)
    run.fit(triplet(), DataLoader(Blobs(), batch_size=12))
    assert run.global_step == 10
    assert len(watch.state_dict()["looks"]) == 5


def test_a_resumed_fit_goes_on_with_the_window(tmp_path: Path) -> None:
    loader = DataLoader(Blobs(2.0), batch_size=48)
    settings = {"every_n_steps": 1, "window": 6}
    whole = TrainingState(**settings)
    with pytest.warns(UserWarning, match="stalled"):
        trainer(tmp_path, 9, whole).fit(triplet(1e-9, margin=0.5), loader)
    first, path = TrainingState(**settings), tmp_path / "half.ckpt"
    half = trainer(tmp_path, 4, first)
    half.fit(triplet(1e-9, margin=0.5), loader)
    half.save_checkpoint(path)
    second = TrainingState(**settings)
    rest = trainer(tmp_path, 9, second)
    with pytest.warns(UserWarning, match="stalled at step 6"):
        rest.fit(triplet(1e-9, margin=0.5), loader, ckpt_path=path)
    assert repr(second.state_dict()) == repr(whole.state_dict())  # NaN is not itself
    rest.save_checkpoint(path)
    third = TrainingState(**settings)  # was told before: a warning would be an error here
    trainer(tmp_path, 12, third).fit(triplet(1e-9, margin=0.5), loader, ckpt_path=path)
    assert third.state == "stalled"


def test_an_alert_goes_to_an_offline_weights_and_biases_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[dict[str, Any]] = []
    original = wandb.Run.alert

    def alert(self: wandb.Run, **arguments: Any) -> None:
        sent.append(arguments)
        original(self, **arguments)

    monkeypatch.setattr(wandb.Run, "alert", alert)
    monkeypatch.setenv("WANDB_MODE", "offline")  # Lightning sets it to "dryrun", which later tests must not see
    # offline=True asks by the environment, which wandb no longer reads if a test of this process used it before
    logger = WandbLogger(save_dir=tmp_path, offline=True, mode="offline", project="test")
    watch = TrainingState(every_n_steps=1, window=6)
    run = trainer(tmp_path, 12, watch, logger=logger)
    try:
        with pytest.warns(UserWarning, match="stalled"):
            run.fit(triplet(lr=1e-9, margin=0.5), DataLoader(Blobs(2.0), batch_size=48))
    finally:
        wandb.finish()
    assert [one["title"] for one in sent] == ["Training is stalled"]
    assert "no longer falls" in sent[0]["text"]
    path = next(tmp_path.rglob("*.wandb"))
    for _ in range(100):  # its own process writes it
        if b"Training is stalled at step 6" in path.read_bytes():
            return
        time.sleep(0.1)
    pytest.fail("the alert is not in the run's file")


# The rule itself ----------------------------------------------------------------------------------

CALM = Look(0.1, 0.5, 0.5, 0.9, 0.2, -0.5, -0.4, 1.0, math.nan)


def test_the_mean_over_active_triplets_may_be_flat_while_training_goes_on() -> None:
    looks = [CALM._replace(mean_hinge=0.1 * share, hinge_active_fraction=share)
             for share in (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)]  # fmt: skip
    assert training_state(looks, 0.2, window=6) == "learning"
    assert training_state([CALM] * 6, 0.2, window=6) == "stalled"


def test_a_rising_hinge_has_stalled_and_a_noisy_fall_has_not() -> None:
    rising = [CALM._replace(mean_hinge=0.1 + 0.01 * i) for i in range(10)]
    assert training_state(rising, 0.2, window=10) == "stalled"
    falling = [CALM._replace(mean_hinge=0.2 - 0.01 * i + 0.05 * (i % 2)) for i in range(10)]
    assert training_state(falling, 0.2, window=10) == "learning"


def test_one_lucky_batch_does_not_satisfy() -> None:
    lucky = CALM._replace(mean_hinge=0.0, hinge_active_fraction=0.0)
    assert training_state([*[CALM] * 5, lucky], 0.2, window=50) == "learning"
    assert training_state([CALM, *[lucky] * 5], 0.2, window=50) == "satisfied"
    assert training_state([lucky] * 4, 0.2, window=50) == "learning"


def test_a_small_space_that_meets_a_small_margin_is_no_collapse() -> None:
    point = CALM._replace(mean_hinge=0.199, triplet_intra=0.01, triplet_inter=0.011)
    assert training_state([point] * 5, 0.2) == "collapsed"
    small = point._replace(mean_hinge=0.0005)
    assert training_state([small] * 5, 0.001) == "learning"
    squared = point._replace(triplet_intra=0.01, triplet_inter=0.01)  # 0.1 apart
    assert training_state([squared] * 5, 0.2, squared=True) == "learning"
    long = point._replace(triplet_intra=1.0, triplet_inter=1.001, embedding_rms_norm=100.0)
    assert training_state([long] * 5, 0.2) == "collapsed"
    assert training_state([long._replace(embedding_rms_norm=1.0)] * 5, 0.2) == "learning"


values = st.floats(0, 2)
looks = st.builds(
    Look, values, st.sampled_from([0.0, 0.4]), values, values, *[st.just(0.0)] * 3,
    st.just(1.0), st.sampled_from([math.nan, 0.01, 1.0]),
)  # fmt: skip


@given(st.lists(looks, min_size=1, max_size=8), st.sampled_from([0.25, 2.0, 4.0]))
def test_the_state_does_not_depend_on_the_unit_of_length(seen: list[Look], unit: float) -> None:
    def scaled(one: Look) -> Look:
        share = one.hinge_active_fraction
        return Look(*(unit * value for value in one))._replace(hinge_active_fraction=share)

    state = training_state(seen, 0.25, window=6)
    assert state in STATES
    assert training_state([scaled(one) for one in seen], 0.25 * unit, window=6) == state


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"margin": 0.0}, "margin must be positive"),
        ({"margin": math.inf}, "margin must be positive"),
        ({"every_n_steps": 0}, "every_n_steps must be at least 1"),
        ({"window": 1}, "window must be at least 2"),
        ({"flat": 1.0}, "0 <= flat < 1"),
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainingState(**wrong)
