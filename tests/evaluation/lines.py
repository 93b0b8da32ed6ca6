"""Embeddings of a split, laid out by hand on a line or in a plane."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.types import SETS, Embeddings, EvaluationSet

Rows = Sequence[tuple[Sequence[float], int]]  # place and label
NAMES = ["coot", "mallard", "eider", "mammal", "glint"]  # two known, one novel, two OOD


def laid_out(sets: Mapping[EvaluationSet, Rows], far: Sequence[str] = ("glint",)) -> Evidence:
    """Evidence of crops at the given places; sets that are not given are empty."""
    dim = len(next(iter(sets.values()))[0][0])
    parts = {name: _part(sets.get(name, ()), dim) for name in SETS}
    groups = {name: np.array([f"flight {row % 2}" for row in range(len(part))], str) for name, part in parts.items()}
    return Evidence(parts, [*NAMES], 2, groups, frozenset(far))


def _part(rows: Rows, dim: int) -> Embeddings:
    places = torch.tensor([place for place, _ in rows], dtype=torch.float32).reshape(-1, dim)
    labels = torch.tensor([label for _, label in rows], dtype=torch.int64)
    return Embeddings(places, labels, torch.arange(len(rows)))
