"""Verification of a split: which sets and pairs its numbers are of, and when there are none."""

from dataclasses import replace

import numpy as np
import torch

from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.evaluation.verification import FMRS, verification_values
from dml_lightning.metrics.verification import fnmr_at_fmr
from dml_lightning.stats.results import COLUMNS, higher_is_better
from dml_lightning.types import Embeddings
from tests.evaluation.lines import laid_out


def crops(n: int, classes: int, first: int = 0) -> list[tuple[list[float], int]]:
    rng = np.random.default_rng(n)
    labels = first + rng.integers(classes, size=n)
    return [(list(map(float, rng.normal(label, 0.6, 2))), int(label)) for label in labels]


def test_values_are_of_each_set_and_of_pairs_of_two_flights() -> None:
    evidence = laid_out({"reference": crops(10, 2), "known": crops(90, 2), "novel": crops(30, 1, first=2)})
    values = verification_values(evidence)
    known = evidence.sets["known"]
    flights = torch.from_numpy((evidence.groups["known"] == "flight 1").astype(int))
    for name, fmr in FMRS.items():
        plain = fnmr_at_fmr(known.vectors, known.labels, (fmr,)).fnmr_at[fmr]
        others = fnmr_at_fmr(known.vectors, known.labels, (fmr,), groups=flights).fnmr_at[fmr]
        assert values[f"fnmr_at_fmr_{name}"] == plain
        assert values[f"fnmr_at_fmr_{name}_other_groups"] == others
    assert len(values) == 4  # novel crops are of one class: nothing to tell apart
    alone = verification_values(replace(evidence, other_groups=False))
    assert alone == {key: value for key, value in values.items() if not key.endswith("_other_groups")}


def test_too_few_pairs_have_no_number(split: Evidence) -> None:
    few = laid_out({"reference": crops(10, 2), "known": crops(24, 2)})
    values = verification_values(few)  # at most 144 pairs of two classes
    assert "fnmr_at_fmr_1_in_100" in values
    assert "fnmr_at_fmr_1_in_1000" not in values
    assert all(value == value for value in values.values())
    nothing = Embeddings(split.sets["known"].vectors[:0], split.sets["known"].labels[:0], torch.arange(0))
    empty = {name: np.array([], str) for name in split.sets}
    assert verification_values(replace(split, sets=dict.fromkeys(split.sets, nothing), groups=empty)) == {}


def test_smaller_rates_are_better() -> None:
    for name in FMRS:
        assert not higher_is_better(f"novel_fnmr_at_fmr_{name}_other_groups")
    assert "fnmr_at_fmr_1_in_100_other_groups" in COLUMNS
