"""Callbacks that log the values of `dml_lightning.evaluation` on the gathered embeddings."""

from pathlib import Path

import lightning as L
import pandas as pd
from lightning.pytorch.loggers import WandbLogger
from typing_extensions import override

from dml_lightning.callbacks.base import EvaluationCallback, Measurement, data_of, evidence_of
from dml_lightning.callbacks.writer import result_folder, with_temperature
from dml_lightning.data.loaders import is_trial
from dml_lightning.evaluation.classes import class_results
from dml_lightning.evaluation.clutter import clutter_values
from dml_lightning.evaluation.distances import distance_values
from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.evaluation.naming import accuracy_values
from dml_lightning.evaluation.ood import assumption_values, ood_values
from dml_lightning.evaluation.open_set import open_set_values
from dml_lightning.evaluation.probabilities import probability_values
from dml_lightning.evaluation.retrieval import retrieval_values, selection
from dml_lightning.evaluation.structure import class_table, structure_values
from dml_lightning.evaluation.verification import verification_values
from dml_lightning.files import write_text
from dml_lightning.metrics.calibration import BINS
from dml_lightning.models import EmbeddingModule
from dml_lightning.runs.folder import SELECTION


class Accuracy(Measurement):
    """Logs accuracy and balanced accuracy over the known species, for each rule that names a class.

    `accuracy` uses the arm's own rule: the largest softmax probability, or the nearest prototype.
    `accuracy_prototype` and `accuracy_knn` use rules that every arm has.

    Args:
        k: Number of neighbours that vote in `accuracy_knn`.
    """

    def __init__(self, k: int = 5) -> None:
        self.k = k

    @override
    def compute(self, evidence: Evidence) -> dict[str, float]:
        return accuracy_values(evidence, self.k)


class ProbabilityCalibration(Measurement):
    """Logs likelihood and calibration of an arm that names by softmax, before and after temperature scaling.

    `nll`, `calibration_error` and `classwise_calibration_error` are of the probabilities of known crops, and with
    `_scaled` behind of those at `temperature`, which is fitted on the known validation crops. A test takes the
    temperature that the validation of the same checkpoint wrote. Other arms have none of these numbers.

    Args:
        bins: Number of bins of equal width of the calibration errors.
    """

    def __init__(self, bins: int = BINS) -> None:
        self.bins = bins

    @override
    def compute(self, evidence: Evidence) -> dict[str, float]:
        return probability_values(evidence, self.bins)

    @override
    def evaluate(self, trainer: L.Trainer, module: EmbeddingModule, stage: str) -> None:
        self.log_values(module, stage, self.compute(with_temperature(trainer, evidence_of(trainer, module), stage)))


class DistanceRatio(Measurement):
    """Logs the mean intra- and inter-class distance, their ratio inter / intra, and the worst gaps.

    Values of known species have no prefix, those of novel species the prefix `novel_`. The mean embedding norm is
    logged as well if the encoder does not normalise, because distances then have no scale of their own.

    Args:
        margin: Margin that is subtracted from the gaps, in embedding distance.
    """

    def __init__(self, margin: float = 0.2) -> None:
        self.margin = margin

    @override
    def compute(self, evidence: Evidence) -> dict[str, float]:
        return distance_values(evidence, self.margin)


class Retrieval(Measurement):
    """Logs Recall@1, R-precision and MAP@R, each crop against all the others of its set (leave one out).

    Values of known species have no prefix, those of novel species, which training never saw, the prefix `novel_`. Those
    that end in `_other_groups` search only crops of other groups (flights) than the query's; `left_out_other_groups`
    counts the crops that have none of their class there.

    `val/selection_map_at_r` repeats the number by which checkpoints are chosen: `map_at_r_other_groups`, or `map_at_r`
    where too many crops would have nothing to find (`evaluation.retrieval.selection`), which a fit says at its start.
    """

    @override
    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        data = data_of(trainer)
        rows = data.rows("known", "val")
        reason = selection(data.labels[rows], data.groups[rows].astype(str), data.other_groups).reason
        if reason and trainer.is_global_zero:
            print(f"Checkpoints are chosen by map_at_r and not by map_at_r_other_groups: {reason}.")

    @override
    def compute(self, evidence: Evidence) -> dict[str, float]:
        return retrieval_values(evidence)

    @override
    def evaluate(self, trainer: L.Trainer, module: EmbeddingModule, stage: str) -> None:
        evidence = evidence_of(trainer, module)
        values, known = self.compute(evidence), evidence.sets["known"]
        if stage == "val" and len(known):
            labels, groups = known.labels.cpu().numpy(), evidence.groups["known"]
            metric = selection(labels, groups, evidence.other_groups).metric
            values[SELECTION.removeprefix("val/")] = values[metric]
        self.log_values(module, stage, values)


class Verification(Measurement):
    """Logs false non-match rates: shares of pairs of one class that lie too far apart to count as one.

    In `fnmr_at_fmr_1_in_100` (`_1_in_1000`) 1 in 100 (1000) pairs of two classes lie near enough to count as one, which
    is the false match rate. Values of known species have no prefix, those of novel species the prefix `novel_`; those
    that end in `_other_groups` take only pairs of crops of two groups (flights). Where a set has fewer than 100 (1000)
    pairs of two classes, or none of one class, the number is missing. Nothing is logged between the epochs of a fit:
    it takes two passes over all pairs.
    """

    @override
    def compute(self, evidence: Evidence) -> dict[str, float]:
        return verification_values(evidence)

    @override
    def evaluate(self, trainer: L.Trainer, module: EmbeddingModule, stage: str) -> None:
        if trainer.state.fn != "fit":
            super().evaluate(trainer, module, stage)


class OODDetection(Measurement):
    """Logs how well prototypes of the reference crops separate known species from OOD crops.

    Score `nearest` is the distance to the nearest prototype; score `radius` is the smallest distance less the radius
    of the prototype. Larger is more OOD. `ood_auroc` and `ood_fpr95_ood_positive` cover all OOD crops under score
    `nearest`. Suffixes name the other variants: `_radius` is the other score, `_near` and `_far` are a part of the OOD
    crops, the name of a class is that class alone, and `_macro` is the mean over classes. FPR95 is the share of known
    crops refused where 95 % of the OOD crops are refused (OOD positive), or the share of OOD crops accepted where 95 %
    of the known crops are accepted (`known_positive`). Novel species are scored as unknown as well, with the prefix
    `novel_`.

    Beside them stand numbers of naming with refusal under score `nearest`: `oscr`, the area under correct names
    against OOD crops named, and `aurc`, the area under the error among named known crops against their share; with
    `_prototype` where the nearest prototype names instead of the arm's own rule.

    Clutter, of kinds that training saw but of other flights, is in none of these numbers: it has the prefix `clutter_`.
    With the prefix `reject_` stand AUROCs by the reject class, which a classifier has that was trained with clutter.

    Args:
        radius_quantile: Quantile of the distances of a class's crops to their prototype that is its radius; 1 is the
            maximum.
    """

    def __init__(self, radius_quantile: float = 1.0) -> None:
        self.radius_quantile = radius_quantile

    @override
    def compute(self, evidence: Evidence) -> dict[str, float]:
        quantile = self.radius_quantile
        return ood_values(evidence, quantile) | clutter_values(evidence, quantile) | open_set_values(evidence)


class Assumptions(Measurement):
    """Logs which conditions of the separation theorem hold, and by how much, with the prefix `assumption_`.

    If every known crop lies in the ball of its class and every OOD crop lies outside all balls, the radius-adjusted
    score separates them; if the balls are also disjoint, it names the right class (`openset.assumptions`). The balls
    are those of the reference crops.

    Args:
        radius_quantile: Quantile of the distances of a class's crops to their prototype that is its radius; 1 is the
            maximum.
    """

    def __init__(self, radius_quantile: float = 1.0) -> None:
        self.radius_quantile = radius_quantile

    @override
    def compute(self, evidence: Evidence) -> dict[str, float]:
        return assumption_values(evidence, self.radius_quantile)


class Structure(Measurement):
    """Logs the embedding density and the spectral decay of Roth et al., and writes a table of class distances.

    `roth_embedding_density` is intra- over inter-class distance in cosine distance, so smaller is tighter; it is not
    the inverse of `inter_intra_ratio` (`dml_lightning.metrics.structure` says why). `roth_singleton_classes` counts
    the classes of one crop, which the density leaves out. `worst_class_gap` is the smallest value over pairs of classes
    of their mean distance less the larger of their two intra-class distances; it is at least the margin where every
    triplet is satisfied. Values of known species have no prefix, those of novel species the prefix `novel_`.

    The mean distance of every pair of classes (known, novel and OOD) is written to
    `tables/<stage>_class_distances.csv` beside the results, where it replaces that of the evaluation before. Outside
    of a fit it is also logged to Weights & Biases, as a table named `<stage>/class_distances`.
    """

    @override
    def compute(self, evidence: Evidence) -> dict[str, float]:
        return structure_values(evidence)

    @override
    def evaluate(self, trainer: L.Trainer, module: EmbeddingModule, stage: str) -> None:
        evidence = evidence_of(trainer, module)
        table = class_table(evidence)
        self.log_values(module, stage, structure_values(evidence, table))
        if trainer.is_global_zero and not is_trial(trainer):
            keep_table(trainer, table.reset_index(), stage, "class_distances")


class ClassResults(EvaluationCallback):
    """Writes a table of results by class: precision, recall, support, Recall@1 and OOD AUROC (`class_results`).

    After `validate` and `test` it is written to `tables/<stage>_classes.csv` beside the results of the checkpoint and
    logged to Weights & Biases, where that is on, as a table named `<stage>/classes`.
    """

    @override
    def evaluate(self, trainer: L.Trainer, module: EmbeddingModule, stage: str) -> None:
        evidence = evidence_of(trainer, module)  # on every rank, since it gathers
        told = trainer.is_global_zero and trainer.state.fn != "fit"
        if told and not is_trial(trainer):
            keep_table(trainer, class_results(evidence), stage, "classes")


def keep_table(trainer: L.Trainer, table: pd.DataFrame, stage: str, name: str) -> None:
    """Writes a table beside the results of the checkpoint and, outside of a fit, logs it to Weights & Biases.

    The file appears only when it is complete. A Weights & Biases table is an artifact, which waits for the network and
    would hold up training between epochs.

    Args:
        trainer: Trainer whose `default_root_dir` is the run's folder.
        table: Table whose first column names its rows.
        stage: `val` or `test`.
        name: Name of the table.
    """
    fits = trainer.state.fn == "fit"
    folder = Path(trainer.default_root_dir) if fits else result_folder(trainer)
    write_text(folder / "tables" / f"{stage}_{name}.csv", table.to_csv(index=False, float_format="%.6g"))
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger) and not fits:
            logger.log_table(f"{stage}/{name}", dataframe=table)
