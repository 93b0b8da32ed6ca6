"""Callback that logs the fractions of active, hard, semi-hard and easy triplets."""

from collections.abc import Mapping
from typing import Any

import lightning as L
from torch import Tensor
from typing_extensions import override

from dml_lightning.callbacks.base import Measurement
from dml_lightning.distributed import gather
from dml_lightning.evaluation.active import active_values
from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.losses import TripletLoss
from dml_lightning.losses.functional import triplet_counts
from dml_lightning.metrics.triplets import MOST_ANCHORS, fractions
from dml_lightning.models import EmbeddingModule
from dml_lightning.types import Batch, is_clutter


class ActiveTriplets(Measurement):
    """Logs the fractions of active, hard, semi-hard and easy triplets.

    In training they are counted over all valid triplets of the global batch, whatever the loss mines; at the end of
    a validation or test epoch, over all valid triplets of the known crops. Every arm is counted with the same margin
    and distance, so that arms can be compared. If a triplet loss has another margin or distance, its own fraction is
    logged as well, as `train/loss_active_triplet_fraction`.

    Clutter is left out of the count. Where a module trains with it, its share of the global batch is logged as
    `train/clutter_share`, and the loss's own fraction, of triplets that have clutter as a negative, too, as above.

    Args:
        margin: Margin of the count, in embedding distance.
        squared: Whether the count compares squared distances.
        every_n_steps: Training steps between two counts; the trainer's `log_every_n_steps` if not given.
        most_anchors: Largest number of anchors in a validation or test epoch. Of more crops this many are drawn as
            anchors, with a fixed seed, and counted against all crops. A training batch is always counted whole.

    Raises:
        ValueError: If `every_n_steps` or `most_anchors` is less than 1.
    """

    def __init__(
        self,
        margin: float = 0.2,
        squared: bool = False,
        every_n_steps: int | None = None,
        most_anchors: int = MOST_ANCHORS,
    ) -> None:
        if every_n_steps is not None and every_n_steps < 1:
            raise ValueError(f"every_n_steps must be at least 1, got {every_n_steps}.")
        if most_anchors < 1:
            raise ValueError(f"most_anchors must be at least 1, got {most_anchors}.")
        self.margin = margin
        self.squared = squared
        self.every_n_steps = every_n_steps
        self.most_anchors = most_anchors

    @override
    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        # Lightning sets the attribute in its logger connector
        every: int = self.every_n_steps or trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every == 0 or trainer.global_step % every:
            return
        values = fractions(self._count(outputs, pl_module))
        logged = {f"train/{name}": value for name, value in values.items()}
        own = outputs["counts"]
        if own and not self._counts_as(pl_module):
            logged["train/loss_active_triplet_fraction"] = fractions(own)["active_triplet_fraction"]
        if _trains_with_clutter(pl_module):
            logged["train/clutter_share"] = is_clutter(gather(outputs["labels"])).float().mean()
        pl_module.log_dict(logged, on_step=True, on_epoch=False)

    @override
    def compute(self, evidence: Evidence) -> dict[str, float]:
        return active_values(evidence, self.margin, self.squared, self.most_anchors)

    def _counts_as(self, module: L.LightningModule) -> bool:
        """Whether the module's own loss counts the same triplets with the same margin and distance."""
        loss = getattr(module, "loss", None)
        return (
            isinstance(loss, TripletLoss)
            and (loss.margin, loss.squared) == (self.margin, self.squared)
            and loss.memory is None  # whose counts hold triplets beyond the batch
            and not _trains_with_clutter(module)
        )

    def _count(self, outputs: Mapping[str, Any], module: L.LightningModule) -> Mapping[str, Tensor]:
        """Triplet counts of the global batch, taken from the loss where it has made them already."""
        if outputs["counts"] and self._counts_as(module):
            counts: Mapping[str, Tensor] = outputs["counts"]
            return counts
        vectors, labels = gather(outputs["embeddings"].detach()), gather(outputs["labels"])
        known = ~is_clutter(labels)
        return triplet_counts(vectors[known], labels[known], self.margin, squared=self.squared)


def _trains_with_clutter(module: L.LightningModule) -> bool:
    return isinstance(module, EmbeddingModule) and module.clutter
