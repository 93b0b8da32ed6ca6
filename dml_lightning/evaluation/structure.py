"""How the classes lie to each other, pair by pair, and how the space is filled."""

import pandas as pd
import torch

from dml_lightning.evaluation.evidence import SEEN_AND_NOVEL, Evidence
from dml_lightning.metrics.structure import class_distances, embedding_density, spectral_decay, worst_class_gap
from dml_lightning.types import Embeddings


def class_table(evidence: Evidence) -> pd.DataFrame:
    """Mean distance of every pair of known, novel and OOD classes, by name."""
    seen = [evidence.sets[name] for name in ("known", "novel", "ood")]
    return class_distances(
        torch.cat([chosen.vectors for chosen in seen]),
        torch.cat([chosen.labels for chosen in seen]),
        evidence.class_names,
    )


def structure_values(evidence: Evidence, table: pd.DataFrame | None = None) -> dict[str, float]:
    """Roth et al.'s density and spectral decay, and the worst gap between two classes; novel species behind `novel_`.

    Args:
        evidence: Of one split.
        table: Of `class_table`, where it has been computed.
    """
    distances = class_table(evidence) if table is None else table
    found: dict[str, float] = {}
    for prefix, name in SEEN_AND_NOVEL.items():
        chosen = evidence.sets[name]
        if len(chosen):
            values = _summary(chosen, distances, evidence.class_names)
            found |= {prefix + key: value for key, value in values.items()}
    return found


def _summary(chosen: Embeddings, table: pd.DataFrame, names: list[str]) -> dict[str, float]:
    density = embedding_density(chosen.vectors, chosen.labels)
    own = [names[label] for label in sorted(set(chosen.labels.tolist()))]
    return {
        "roth_embedding_density": density.density,
        "roth_spectral_decay": spectral_decay(chosen.vectors),
        "roth_singleton_classes": density.singletons,
        "worst_class_gap": worst_class_gap(table.loc[own, own]),
    }
