"""Verification: whether two crops are told to be of one species by their distance alone."""

import numpy as np
import torch

from dml_lightning.evaluation.evidence import SEEN_AND_NOVEL, Evidence
from dml_lightning.evaluation.retrieval import OTHER_GROUPS
from dml_lightning.metrics.verification import fnmr_at_fmr
from dml_lightning.pairs.blocks import Vectors
from dml_lightning.types import EvaluationSet

FMRS = {"1_in_100": 0.01, "1_in_1000": 0.001}  # false match rate by its name in those of numbers


def verification_values(evidence: Evidence) -> dict[str, float]:
    """False non-match rates where 1 in 100 and 1 in 1000 pairs of two classes match; novel species as `novel_*`.

    Those that end in `_other_groups` take only pairs of crops of two groups, and are missing where
    `evidence.other_groups` is False. A number is missing where too few pairs can tell it. A collective: every rank must
    call it with the same arguments.

    Args:
        evidence: Embeddings of one split.
    """
    values: dict[str, float] = {}
    for prefix, name in SEEN_AND_NOVEL.items():
        values |= {f"{prefix}{key}": value for key, value in _rates(evidence, name, None).items()}
        if evidence.other_groups:
            groups = torch.from_numpy(np.unique(evidence.groups[name], return_inverse=True)[1])
            others = _rates(evidence, name, groups)
            values |= {f"{prefix}{key}{OTHER_GROUPS}": value for key, value in others.items()}
    return values


def _rates(evidence: Evidence, name: EvaluationSet, groups: Vectors | None) -> dict[str, float]:
    chosen = evidence.sets[name]
    args = chosen.vectors, chosen.labels, tuple(FMRS.values())
    rates = fnmr_at_fmr(*args, groups=groups, split_over_ranks=True).fnmr_at
    return {f"fnmr_at_fmr_{key}": rates[fmr] for key, fmr in FMRS.items() if rates[fmr] == rates[fmr]}
