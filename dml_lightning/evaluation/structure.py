"""Structure of the embedding space: distances between pairs of classes, density and spectral decay."""

import pandas as pd
import torch

from dml_lightning.evaluation.evidence import SEEN_AND_NOVEL, Evidence
from dml_lightning.metrics.structure import class_distances, embedding_density, spectral_decay, worst_class_gap
from dml_lightning.types import Embeddings


def class_table(evidence: Evidence) -> pd.DataFrame:
    """Mean distance between every two known, novel and OOD classes; rows and columns are class names."""
    seen = [evidence.sets[name] for name in ("known", "novel", "ood")]
    return class_distances(
        torch.cat([chosen.vectors for chosen in seen]),
        torch.cat([chosen.labels for chosen in seen]),
        evidence.class_names,
    )


def structure_values(evidence: Evidence, table: pd.DataFrame | None = None) -> dict[str, float]:
    """Density and spectral decay, and the worst gap between two classes; novel species as `novel_*`.

    Source: Roth et al., Revisiting Training Strategies and Generalization Performance in Deep Metric Learning,
    ICML 2020, for the first two.

    Args:
        evidence: Embeddings of one split.
        table: Result of `class_table`, if it has been computed already.
    """
    distances = class_table(evidence) if table is None else table
    values: dict[str, float] = {}
    for prefix, name in SEEN_AND_NOVEL.items():
        chosen = evidence.sets[name]
        if len(chosen):
            summary = _summary(chosen, distances, evidence.class_names)
            values |= {prefix + key: value for key, value in summary.items()}
    return values


def _summary(chosen: Embeddings, table: pd.DataFrame, names: list[str]) -> dict[str, float]:
    density = embedding_density(chosen.vectors, chosen.labels)
    own = [names[label] for label in sorted(set(chosen.labels.tolist()))]
    return {
        "roth_embedding_density": density.density,
        "roth_spectral_decay": spectral_decay(chosen.vectors),
        "roth_singleton_classes": density.singletons,
        "worst_class_gap": worst_class_gap(table.loc[own, own]),
    }
