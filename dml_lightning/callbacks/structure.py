"""How the classes lie to each other, pair by pair, and how the space is filled."""

from pathlib import Path

import lightning as L
import pandas as pd
import torch
from lightning.pytorch.loggers import WandbLogger
from typing_extensions import override

from dml_lightning.callbacks.base import SEEN_AND_NOVEL, Measurement, evidence_of
from dml_lightning.evidence import Evidence
from dml_lightning.metrics.structure import class_distances, embedding_density, spectral_decay, worst_class_gap
from dml_lightning.models import EmbeddingModule
from dml_lightning.runs import write_text
from dml_lightning.types import Embeddings


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
        return _values(evidence, class_table(evidence))

    @override
    def evaluate(self, trainer: L.Trainer, module: EmbeddingModule, stage: str) -> None:
        evidence = evidence_of(trainer, module)
        table = class_table(evidence)
        self.log_values(module, stage, _values(evidence, table))
        if trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            keep_table(trainer, table, stage)


def _values(evidence: Evidence, table: pd.DataFrame) -> dict[str, float]:
    found: dict[str, float] = {}
    for prefix, name in SEEN_AND_NOVEL.items():
        chosen = evidence.sets[name]
        if len(chosen):
            values = _summary(chosen, table, evidence.class_names)
            found |= {prefix + key: value for key, value in values.items()}
    return found


def class_table(evidence: Evidence) -> pd.DataFrame:
    """Mean distance of every pair of known, novel and OOD classes, by name."""
    seen = [evidence.sets[name] for name in ("known", "novel", "ood")]
    return class_distances(
        torch.cat([chosen.vectors for chosen in seen]),
        torch.cat([chosen.labels for chosen in seen]),
        evidence.class_names,
    )


def _summary(chosen: Embeddings, table: pd.DataFrame, names: list[str]) -> dict[str, float]:
    density = embedding_density(chosen.vectors, chosen.labels)
    own = [names[label] for label in sorted(set(chosen.labels.tolist()))]
    return {
        "roth_embedding_density": density.density,
        "roth_spectral_decay": spectral_decay(chosen.vectors),
        "roth_singleton_classes": density.singletons,
        "worst_class_gap": worst_class_gap(table.loc[own, own]),
    }


def keep_table(trainer: L.Trainer, table: pd.DataFrame, stage: str) -> None:
    """Writes the class distances into the run's folder, whole or not at all, and, after a fit, to Weights & Biases.

    A table there is an artifact, which waits for the network: nothing to do between epochs.
    """
    path = Path(trainer.default_root_dir, "tables", f"{stage}_class_distances.csv")
    write_text(path, table.to_csv(float_format="%.6g"))
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger) and trainer.state.fn != "fit":
            logger.log_table(f"{stage}/class_distances", dataframe=table.reset_index())
