"""The state of training (learning, stalled, collapsed, ...), named from numbers of its batches."""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import lightning as L
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from typing_extensions import override

from dml_lightning.callbacks.base import check_module
from dml_lightning.distributed import gather
from dml_lightning.losses import TripletLoss
from dml_lightning.losses.functional import batch_all_triplet
from dml_lightning.metrics.distances import gap_summary
from dml_lightning.models import EmbeddingModule
from dml_lightning.theory import is_feasible_margin, max_feasible_margin
from dml_lightning.types import Batch, is_clutter

StateName = Literal["infeasible", "satisfied", "collapsed", "noisy", "stalled", "learning"]
STATES: tuple[StateName, ...] = get_args(StateName)

RECENT = 5  # latest looks, which must all be satisfied or all be collapsed
NEAR_ZERO = 0.05  # distances below this share of the RMS norm are a collapse ...
NEAR_MARGIN = 0.9  # ... if the mean hinge is above this share of the margin as well

ADVICE: dict[StateName, str] = {
    "infeasible": "no embedding can satisfy it: lower the margin to at most {bound:.4f}, or give the "
    "embedding more dimensions",
    "collapsed": "all embeddings are nearly one point: lower the learning rate or warm up longer, learn from "
    "all or semi-hard triplets rather than the hardest, and check that the labels belong to the crops",
    "noisy": "two augmentations of one crop lie further apart than the margin: raise the margin, or augment less",
    "stalled": "the mean hinge over all valid triplets no longer falls: end here if the learning rate has run "
    "out, else change the learning rate, learn from semi-hard triplets, or look for mislabelled crops",
}


class Look(NamedTuple):
    """Statistics of all valid triplets of known crops of one global batch, whatever the loss mines."""

    mean_hinge: float  # mean max(0, d(a,p) - d(a,n) + m): the estimate of the expected loss
    hinge_active_fraction: float  # share of the triplets whose hinge is not 0
    triplet_intra: float  # mean d(a,p) over triplets
    triplet_inter: float  # mean d(a,n) over triplets
    mean_gap: float  # triplet_inter - triplet_intra - m
    worst_gap: float
    worst_anchor_gap: float
    embedding_rms_norm: float
    augmentation_distance: float  # mean over copies of one crop in the batch, NaN without any


def look(vectors: Tensor, labels: Tensor, index: Tensor, margin: float, squared: bool = False) -> Look | None:
    """Computes the statistics of the global batch without its clutter; every rank must call it, and gets the same.

    Args:
        vectors: Embeddings (B, D) of this rank.
        labels: Labels (B,) of the embeddings.
        index: Crop ids (B,) of the embeddings; copies of one crop share theirs.
        margin: Margin m, in the unit of the distance.
        squared: Whether distances are squared.

    Returns:
        The statistics, or None if no triplet of the batch is valid.

    Raises:
        ValueError: If an embedding is not finite.
    """
    vectors, labels, index = gather(vectors.detach()).float(), gather(labels), gather(index)
    known = ~is_clutter(labels)
    vectors, labels, index = vectors[known], labels[known], index[known]
    hinge, counts = batch_all_triplet(vectors, labels, margin, squared=squared, reduction="mean")
    if not counts["valid"]:
        return None
    return Look(
        float(hinge),
        float(counts["active"].double() / counts["valid"]),
        *gap_summary(vectors, labels, margin, squared=squared),
        embedding_rms_norm=float(vectors.square().sum(1).mean().sqrt()),
        augmentation_distance=augmentation_distance(vectors, index, squared),
    )


def augmentation_distance(vectors: Tensor, index: Tensor, squared: bool = False) -> float:
    """Mean distance between copies of one crop in a batch, each of which was augmented anew.

    Copies of a crop are paired in the order of their rows, each with the next.

    Args:
        vectors: Embeddings (B, D).
        index: Crop ids (B,).
        squared: Whether distances are squared.

    Returns:
        The mean, NaN if the batch holds no crop twice.

    >>> import torch
    >>> vectors = torch.tensor([[0.0, 0.0], [5.0, 5.0], [3.0, 4.0]])
    >>> augmentation_distance(vectors, torch.tensor([7, 8, 7]))
    5.0
    """
    order = index.argsort(stable=True)
    again = index[order[1:]] == index[order[:-1]]
    apart = (vectors[order[1:][again]] - vectors[order[:-1][again]]).norm(dim=1)
    return float((apart.square() if squared else apart).mean())


def training_state(
    looks: Sequence[Look], margin: float, *, squared: bool = False, window: int = 50, flat: float = 0.01
) -> StateName:
    """Names the state of training from the latest looks.

    Args:
        looks: The latest looks, at most `window`, oldest first.
        margin: Margin m, in the unit of the distance.
        squared: Whether distances are squared.
        window: Number of looks that it takes to call training noisy or stalled.
        flat: Share by which the mean hinge has to fall from the older half of the window to the newer half; if it
            falls by no more than this, it counts as flat.

    Returns:
        `satisfied` if no triplet is active in the last `RECENT` looks; `collapsed` if in all of these the intra- and
        inter-class distances are nearly 0 relative to the RMS norm and the mean hinge is nearly m; `noisy` if copies of
        one crop are m or more apart, on average over the window; `stalled` if the mean hinge over all valid triplets
        is flat (the mean over active ones may be flat while training goes on); `learning` otherwise.

    >>> satisfied = Look(0.0, 0.0, 0.1, 1.2, 0.9, 0.3, 0.3, 1.0, float("nan"))
    >>> training_state([satisfied] * 4, margin=0.2), training_state([satisfied] * 5, margin=0.2)
    ('learning', 'satisfied')
    """
    recent = list(looks)[-min(RECENT, window) :]
    if len(recent) == min(RECENT, window):
        if all(one.hinge_active_fraction == 0 for one in recent):
            return "satisfied"
        if all(_is_collapsed(one, margin, squared) for one in recent):
            return "collapsed"
    if len(looks) < window:
        return "learning"
    noise = [d for one in looks if not math.isnan(d := one.augmentation_distance)]
    if noise and sum(noise) / len(noise) >= margin:
        return "noisy"
    hinges, half = [one.mean_hinge for one in looks], window // 2
    return "stalled" if sum(hinges[-half:]) >= (1 - flat) * sum(hinges[:half]) else "learning"


def _is_collapsed(one: Look, margin: float, squared: bool) -> bool:
    largest = max(one.triplet_intra, one.triplet_inter)
    spread = math.sqrt(largest) if squared else largest
    near = spread <= NEAR_ZERO * one.embedding_rms_norm
    return near and one.mean_hinge >= NEAR_MARGIN * margin


class TrainingState(L.Callback):
    """Logs the state of training, warns when it first enters each bad state, and can stop there.

    Every `every_n_steps` steps it computes the statistics of `Look` over all valid triplets of the global batch and
    logs them as `train/<name>`. They use the distance and margin of the loss if it is a triplet loss, else `squared`
    and `margin`. The state follows from the latest looks and is logged as `train/state_<name>`: 1 for the current
    state, 0 for the others. States, in order of precedence:

    - `infeasible`: the margin of the triplet loss is larger than its bound, which `allow_infeasible_margin` permits.
    - `satisfied`, `collapsed`, `noisy`, `stalled`, `learning`: see `training_state`. `noisy` needs batches that hold a
      crop more than once, as PK batches of small classes do.

    All but `satisfied` and `learning` are bad: the first entry into each warns and says what to try, also as a Weights
    & Biases alert. The window is saved in the checkpoint, so a resumed run continues with it.

    Args:
        margin: Margin for losses that are not triplet losses, in embedding distance.
        squared: Whether distances are squared, for the same losses.
        every_n_steps: Optimizer steps between two looks. Lightning logs the last look again at every logged step in
            between, so let this divide the trainer's `log_every_n_steps`, or be a multiple of it for looks that are
            rarer than logged rows.
        window: Number of looks that it takes to call training noisy or stalled.
        flat: Share by which the mean hinge has to fall within a window; see `training_state`.
        stop: Whether to end training when it first enters a bad state. A run that is resumed from there goes on.

    Raises:
        ValueError: If an argument is out of its range, or an embedding is not finite.
    """

    def __init__(
        self,
        margin: float = 0.2,
        squared: bool = False,
        every_n_steps: int = 10,
        window: int = 50,
        flat: float = 0.01,
        stop: bool = False,
    ) -> None:
        if not 0 < margin < math.inf:
            raise ValueError(f"margin must be positive and finite, got {margin}.")
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps must be at least 1, got {every_n_steps}.")
        if window < 2:
            raise ValueError(f"window must be at least 2 looks, got {window}.")
        if not 0 <= flat < 1:
            raise ValueError(f"flat is a share, 0 <= flat < 1, got {flat}.")
        self.margin, self.squared = margin, squared
        self.every_n_steps, self.window = every_n_steps, window
        self.flat, self.stop = flat, stop
        self.state: StateName = "learning"
        self._looks: deque[Look] = deque(maxlen=window)
        self._warned: set[StateName] = set()
        self._last_step = 0

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        check_module(self, pl_module)

    @override
    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        step = trainer.global_step  # stays the same while gradients accumulate
        if step % self.every_n_steps == 0 and step != self._last_step:
            self._last_step = step
            self._look(trainer, pl_module, outputs, batch)
        # Lightning logs a value again at every later logged step of an epoch; do the same in a resumed epoch
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if self._looks and every and step % every == 0:
            values = {f"train/{name}": value for name, value in self._looks[-1]._asdict().items()}
            states = {f"train/state_{name}": float(name == self.state) for name in STATES}
            pl_module.log_dict({**values, **states}, on_step=True, on_epoch=False)

    def _look(self, trainer: L.Trainer, module: L.LightningModule, outputs: Mapping[str, Any], batch: Batch) -> None:
        margin, squared = self._margin(module)
        latest = look(outputs["embeddings"], outputs["labels"], batch.index, margin, squared)
        if latest is not None:
            self._looks.append(latest)
            bound = _bound(module)
            self._enter(trainer, self._name_state(margin, squared, bound), margin, bound)

    def _margin(self, module: L.LightningModule) -> tuple[float, bool]:
        """The margin in use, and whether distances are squared."""
        loss = getattr(module, "loss", None)
        if isinstance(loss, TripletLoss):
            return loss.margin, loss.squared
        return self.margin, self.squared

    def _name_state(self, margin: float, squared: bool, bound: float | None) -> StateName:
        if bound is not None:
            return "infeasible"
        looks = list(self._looks)
        return training_state(looks, margin, squared=squared, window=self.window, flat=self.flat)

    def _enter(self, trainer: L.Trainer, state: StateName, margin: float, bound: float | None) -> None:
        self.state = state
        if state not in ADVICE or state in self._warned:
            return
        self._warned.add(state)
        _warn(trainer, state, f"with margin {margin:g}: {ADVICE[state].format(bound=bound)}")
        if self.stop:
            trainer.should_stop = True

    @override
    def state_dict(self) -> dict[str, Any]:
        return {
            "state": self.state,
            "looks": [list(one) for one in self._looks],
            "told": sorted(self._warned),
            "last_step": self._last_step,
        }

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.state = state_dict["state"]
        self._looks = deque((Look(*one) for one in state_dict["looks"]), self.window)
        self._warned = set(state_dict["told"])
        self._last_step = state_dict["last_step"]


def _bound(module: L.LightningModule) -> float | None:
    """The bound on the margin that the module's triplet loss exceeds; None if it does not, or has no bound."""
    loss = getattr(module, "loss", None)
    if not (isinstance(module, EmbeddingModule) and isinstance(loss, TripletLoss)):
        return None
    setting = (module.separated, module.encoder.embedding_dim, loss.squared)
    bounded = module.encoder.normalize and not loss.soft and module.num_classes > 1
    if not bounded or is_feasible_margin(loss.margin, *setting):
        return None
    return max_feasible_margin(*setting)


def _warn(trainer: L.Trainer, state: StateName, advice: str) -> None:
    """Warns on the first rank, in the log and as a Weights & Biases alert."""
    text = f"Training is {state} at step {trainer.global_step} {advice}."
    rank_zero_warn(text, category=UserWarning)
    for logger in trainer.loggers if trainer.is_global_zero else []:
        if isinstance(logger, WandbLogger):
            logger.experiment.alert(title=f"Training is {state}", text=text, level="WARN")
