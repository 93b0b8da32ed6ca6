"""Is training learning, or has it ended, and why? Told from logged numbers alone."""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import lightning as L
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from typing_extensions import override

from dml_lightning.distributed import gather
from dml_lightning.losses import TripletLoss
from dml_lightning.losses.functional import batch_all_triplet
from dml_lightning.metrics.distances import gap_summary
from dml_lightning.models import EmbeddingModule
from dml_lightning.theory import is_feasible_margin, max_feasible_margin
from dml_lightning.types import Batch

StateName = Literal["infeasible", "satisfied", "collapsed", "noisy", "stalled", "learning"]
STATES: tuple[StateName, ...] = get_args(StateName)

RECENT = 5  # looks that must agree on a satisfied or collapsed batch
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
    """What one global batch says of all its valid triplets, whatever the loss mines."""

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
    """Looks at the global batch; every rank must call it, and gets the same.

    Args:
        vectors: (B, D) embeddings of this rank.
        labels: (B,) their classes.
        index: (B,) their crops.
        margin: m, in the unit of the distance.
        squared: Whether distances are squared.

    Returns:
        None if no triplet of the batch is valid.

    Raises:
        ValueError: If an embedding is not finite.
    """
    vectors, labels, index = gather(vectors.detach()).float(), gather(labels), gather(index)
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
    """Mean distance of neighbouring copies of one crop, each augmented anew; NaN without copies."""
    order = index.argsort(stable=True)
    again = index[order[1:]] == index[order[:-1]]
    apart = (vectors[order[1:][again]] - vectors[order[:-1][again]]).norm(dim=1)
    return float((apart.square() if squared else apart).mean())


def training_state(
    looks: Sequence[Look], margin: float, *, squared: bool = False, window: int = 50, flat: float = 0.01
) -> StateName:
    """Names the state of training from the latest looks.

    Args:
        looks: The last `window` ones or fewer, oldest first.
        margin: m, in the unit of the distance.
        squared: Whether distances are squared.
        window: Looks that it takes to call training noisy or stalled.
        flat: The mean hinge is flat where its mean over the newer half of the window is below that over the
            older half by no more than this share of it.

    Returns:
        `satisfied` if no triplet is active in the last `RECENT` looks; `collapsed` if in all of them intra- and
        inter-class distance are nearly 0 relative to the RMS norm and the mean hinge is nearly m; `noisy` if
        over the window copies of one crop are m or more apart; `stalled` if the mean hinge over all valid
        triplets is flat (that over active ones may be flat while training goes on); `learning` otherwise.
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
    """Logs the state of training, warns once on entering a bad one, and can stop there.

    Every `every_n_steps` steps it looks at all valid triplets of the global batch and logs the numbers of
    `Look` as `train/<name>`, in the distance and with the margin of a triplet loss (every other loss is
    watched with `margin` and `squared`). From the latest looks follows the state, logged as
    `train/state_<name>`: 1 for the one that holds, 0 for the others. States, in the order of precedence:

    - `infeasible`: the triplet loss's margin is beyond its bound (`allow_infeasible_margin`).
    - `satisfied`, `collapsed`, `noisy`, `stalled`, `learning`: see `training_state`. `noisy` needs batches
      that hold a crop more than once, as PK batches of small classes do.

    All but `satisfied` and `learning` are bad: the first entry into each warns with what to try, also as a
    Weights & Biases alert. The window is in the checkpoint, so a resumed run goes on where it was.

    Args:
        margin: For losses without one of triplets, in embedding distance.
        squared: For the same losses, whether distances are squared.
        every_n_steps: Optimizer steps between two looks. Lightning repeats the last look wherever it logs
            in between, so let this be a divisor of the trainer's `log_every_n_steps`, or a multiple where looks
            are to be rarer than rows.
        window: Looks that it takes to call training noisy or stalled.
        flat: Share of its mean by which the mean hinge has to fall within a window; see `training_state`.
        stop: Whether to end training on first entering a bad state; a resumed run then goes on.

    Raises:
        ValueError: If an argument cannot be used, or training has led to embeddings that are not finite.
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
        self._told: set[StateName] = set()
        self._last_step = 0

    @override
    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        step = trainer.global_step  # stays the same while gradients accumulate
        if step % self.every_n_steps == 0 and step != self._last_step:
            self._last_step = step
            self._look(trainer, pl_module, outputs, batch)
        # Lightning repeats what was logged once at every later logged step of an epoch: do so in a resumed one too
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if self._looks and every and step % every == 0:
            values = {f"train/{name}": value for name, value in self._looks[-1]._asdict().items()}
            states = {f"train/state_{name}": float(name == self.state) for name in STATES}
            pl_module.log_dict({**values, **states}, on_step=True, on_epoch=False)

    def _look(self, trainer: L.Trainer, module: L.LightningModule, outputs: Mapping[str, Any], batch: Batch) -> None:
        margin, squared = self._rule(module)
        seen = look(outputs["embeddings"], outputs["labels"], batch.index, margin, squared)
        if seen is not None:
            self._looks.append(seen)
            bound = _bound(module)
            self._enter(trainer, self._name_state(margin, squared, bound), margin, bound)

    def _rule(self, module: L.LightningModule) -> tuple[float, bool]:
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
        if state not in ADVICE or state in self._told:
            return
        self._told.add(state)
        _tell(trainer, state, f"with margin {margin:g}: {ADVICE[state].format(bound=bound)}")
        if self.stop:
            trainer.should_stop = True

    @override
    def state_dict(self) -> dict[str, Any]:
        return {
            "state": self.state,
            "looks": [list(seen) for seen in self._looks],
            "told": sorted(self._told),
            "last_step": self._last_step,
        }

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.state = state_dict["state"]
        self._looks = deque((Look(*seen) for seen in state_dict["looks"]), self.window)
        self._told = set(state_dict["told"])
        self._last_step = state_dict["last_step"]


def _bound(module: L.LightningModule) -> float | None:
    """The bound that the module's triplet margin exceeds, None if it is within or has none."""
    loss = getattr(module, "loss", None)
    if not (isinstance(module, EmbeddingModule) and isinstance(loss, TripletLoss)):
        return None
    setting = (module.num_classes, module.encoder.embedding_dim, loss.squared)
    bounded = module.encoder.normalize and not loss.soft and module.num_classes > 1
    if not bounded or is_feasible_margin(loss.margin, *setting):
        return None
    return max_feasible_margin(*setting)


def _tell(trainer: L.Trainer, state: StateName, advice: str) -> None:
    text = f"Training is {state} at step {trainer.global_step} {advice}."
    rank_zero_warn(text, category=UserWarning)
    for logger in trainer.loggers if trainer.is_global_zero else []:
        if isinstance(logger, WandbLogger):
            logger.experiment.alert(title=f"Training is {state}", text=text, level="WARN")
