"""How far apart the classes lie, and by how much triplets are satisfied."""

import lightning as L
from typing_extensions import override

from dml_lightning.callbacks.base import EvaluationCallback
from dml_lightning.metrics.distances import (
    AnchorDistances,
    anchor_distances,
    summarise_distances,
    summarise_gaps,
)
from dml_lightning.models import EmbeddingModule


class DistanceRatio(EvaluationCallback):
    """Logs intra- and inter-class distance, inter over intra, and the worst gaps.

    Known species without a prefix, novel species behind `novel_`. The mean embedding norm is logged when the
    encoder does not normalise, since distances then have no scale of their own.

    Args:
        margin: The gaps are what is left beyond this distance.
    """

    def __init__(self, margin: float = 0.2) -> None:
        self.margin = margin

    @override
    def evaluate(self, trainer: L.Trainer, module: EmbeddingModule, stage: str) -> None:
        sets = module.embeddings()
        for prefix, chosen in (("", sets["known"]), ("novel_", sets["novel"])):
            if len(chosen):
                anchors = anchor_distances(chosen.vectors, chosen.labels)
                values = _summary(anchors, self.margin)
                self.log_values(
                    module, stage, {prefix + name: value for name, value in values.items()}
                )
        if not module.encoder.normalize:
            norm = sets["known"].vectors.norm(dim=1).mean()
            self.log_values(module, stage, {"embedding_norm": norm})


def _summary(anchors: AnchorDistances, margin: float) -> dict[str, float]:
    pairs = summarise_distances(anchors)
    gaps = summarise_gaps(anchors, margin)
    return {
        "intra_distance": pairs.intra,
        "inter_distance": pairs.inter,
        "inter_intra_ratio": pairs.ratio,
        "mean_gap": gaps.mean_gap,
        "worst_gap": gaps.worst_gap,
        "worst_anchor_gap": gaps.worst_anchor_gap,
    }
