"""Callbacks that log what a function of `dml_lightning.evaluation` says of the gathered embeddings."""

from pathlib import Path

import lightning as L
import pandas as pd
from lightning.pytorch.loggers import WandbLogger
from typing_extensions import override

from dml_lightning.callbacks.base import Measurement, evidence_of
from dml_lightning.evaluation.distances import distance_values
from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.evaluation.naming import accuracy_values
from dml_lightning.evaluation.ood import assumption_values, ood_values
from dml_lightning.evaluation.retrieval import retrieval_values
from dml_lightning.evaluation.structure import class_table, structure_values
from dml_lightning.files import write_text
from dml_lightning.models import EmbeddingModule


class Accuracy(Measurement):
    """Logs accuracy and balanced accuracy over the known species, for each rule that names a class.

    `accuracy` is the arm's own rule: softmax argmax, or the nearest prototype. The rules that both arms have
    stand beside it: `accuracy_prototype` and `accuracy_knn`.

    Args:
        k: Neighbours that vote in `accuracy_knn`.
    """

    def __init__(self, k: int = 5) -> None:
        self.k = k

    @override
    def compute(self, evidence: Evidence) -> dict[str, float]:
        return accuracy_values(evidence, self.k)


class DistanceRatio(Measurement):
    """Logs intra- and inter-class distance, inter over intra, and the worst gaps.

    Known species without a prefix, novel species behind `novel_`. The mean embedding norm is logged when the
    encoder does not normalise, since distances then have no scale of their own.

    Args:
        margin: The gaps are what is left beyond this distance.
    """

    def __init__(self, margin: float = 0.2) -> None:
        self.margin = margin

    @override
    def compute(self, evidence: Evidence) -> dict[str, float]:
        return distance_values(evidence, self.margin)


class Retrieval(Measurement):
    """Logs Recall@1, R-precision and MAP@R, each crop against all the others of its set (leave one out).

    Known species without a prefix; novel species, which training never saw, behind `novel_`.
    """

    @override
    def compute(self, evidence: Evidence) -> dict[str, float]:
        return retrieval_values(evidence)


class OODDetection(Measurement):
    """Logs how well prototypes of the reference crops separate known species from OOD crops.

    Score `nearest` is the distance to the nearest prototype, `radius` that distance minus the prototype's
    radius; larger is more OOD. `ood_auroc` and `ood_fpr95_ood_positive` are over all OOD crops with score
    `nearest`; `_radius`, `_near`, `_far`, a class's name or `_macro` (the mean over classes) behind them say what
    else is meant. FPR95 is the share of known crops refused when 95 % of the OOD crops are (OOD positive), or the
    share of OOD crops let through when 95 % of the known crops are (`known_positive`). Novel species are scored as
    unknown too, behind `novel_`.

    Args:
        radius_quantile: Of a class's distances to its prototype; 1 is their maximum.
    """

    def __init__(self, radius_quantile: float = 1.0) -> None:
        self.radius_quantile = radius_quantile

    @override
    def compute(self, evidence: Evidence) -> dict[str, float]:
        return ood_values(evidence, self.radius_quantile)


class Assumptions(Measurement):
    """Logs which conditions of the separation theorem hold, and by how much, behind `assumption_`.

    If every known crop lies in the ball of its class and every OOD crop outside all balls, the radius-adjusted score
    separates them; if the balls are also disjoint, it names the class (`openset.assumptions`). Balls are those of the
    reference crops.

    Args:
        radius_quantile: Of a class's distances to its prototype; 1 is their maximum.
    """

    def __init__(self, radius_quantile: float = 1.0) -> None:
        self.radius_quantile = radius_quantile

    @override
    def compute(self, evidence: Evidence) -> dict[str, float]:
        return assumption_values(evidence, self.radius_quantile)


class Structure(Measurement):
    """Logs Roth et al.'s density and spectral decay, and keeps a table of class distances.

    `roth_embedding_density` is intra over inter in cosine distance, so smaller is tighter: it is not the
    inverse of `inter_intra_ratio` (`dml_lightning.metrics.structure` says why). `roth_singleton_classes`
    counts the classes of one crop that it leaves out. `worst_class_gap` is the smallest mean distance of two
    classes beyond the larger of their own, at least the margin where every triplet is satisfied. Known
    species without a prefix, novel species behind `novel_`.

    The mean distance of every pair of classes, known, novel and OOD, goes to
    `tables/<stage>_class_distances.csv` in the run's folder, the latest evaluation in place of the one before,
    and, after a fit, to Weights & Biases as a table named `<stage>/class_distances`.
    """

    @override
    def compute(self, evidence: Evidence) -> dict[str, float]:
        return structure_values(evidence)

    @override
    def evaluate(self, trainer: L.Trainer, module: EmbeddingModule, stage: str) -> None:
        evidence = evidence_of(trainer, module)
        table = class_table(evidence)
        self.log_values(module, stage, structure_values(evidence, table))
        if trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            keep_table(trainer, table, stage)


def keep_table(trainer: L.Trainer, table: pd.DataFrame, stage: str) -> None:
    """Writes the class distances into the run's folder, whole or not at all, and, after a fit, to Weights & Biases.

    A table there is an artifact, which waits for the network: nothing to do between epochs.
    """
    path = Path(trainer.default_root_dir, "tables", f"{stage}_class_distances.csv")
    write_text(path, table.to_csv(float_format="%.6g"))
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger) and trainer.state.fn != "fit":
            logger.log_table(f"{stage}/class_distances", dataframe=table.reset_index())
