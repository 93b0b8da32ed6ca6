"""Shares of active, hard, semi-hard and easy triplets against a loop over all of them."""

import math
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dml_lightning.metrics.triplets import MOST_ANCHORS, fractions, triplet_fractions
from tests.metrics.made import sample

NAMES = ("active", "hard", "semihard", "easy")


def slow_fractions(x: Tensor, y: Tensor, margin: float, squared: bool, anchors: list[int]) -> dict[str, float]:
    counts, valid = dict.fromkeys(NAMES, 0), 0
    power = 2 if squared else 1
    for a, p in permutations(range(len(x)), 2):
        for n in range(len(x)):
            if a not in anchors or y[a] != y[p] or y[a] == y[n]:
                continue
            positive, negative = (math.dist(x[a].tolist(), x[i].tolist()) ** power for i in (p, n))
            kind = "hard" if negative < positive else "semihard" if negative < positive + margin else "easy"
            valid += 1
            counts[kind] += 1
            counts["active"] += kind != "easy"
    return {f"{name}_triplet_fraction": counts[name] / valid if valid else math.nan for name in NAMES}


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(0, 12),
    classes=st.integers(1, 4),
    margin=st.floats(0.01, 2.0),
    squared=st.booleans(),
)
def test_shares_equal_the_definition(seed: int, n: int, classes: int, margin: float, squared: bool) -> None:
    x, y = sample(seed, n, classes)
    found = triplet_fractions(x.double(), y, margin, squared=squared)
    expected = slow_fractions(x.double(), y, margin, squared, list(range(n)))
    assert found == pytest.approx(expected, rel=1e-6, nan_ok=True)


def test_of_more_rows_some_are_drawn_as_anchors_against_all_rows() -> None:
    x, y = sample(3, 24, 3)
    drawn = torch.randperm(24, generator=torch.Generator().manual_seed(0))[:5].tolist()
    found = triplet_fractions(x.double(), y, 0.3, most_anchors=5)
    assert found == pytest.approx(slow_fractions(x.double(), y, 0.3, False, drawn), rel=1e-6)
    assert found != triplet_fractions(x.double(), y, 0.3)
    state = torch.get_rng_state()
    assert found == triplet_fractions(x.double(), y, 0.3, most_anchors=5)
    assert torch.equal(state, torch.get_rng_state())


def test_so_many_rows_are_anchors_at_most_unless_more_are_asked_for() -> None:
    x, y = sample(4, MOST_ANCHORS + 40, 3)
    assert triplet_fractions(x, y) == triplet_fractions(x, y, most_anchors=MOST_ANCHORS)
    assert triplet_fractions(x, y) != triplet_fractions(x, y, most_anchors=len(x))


def test_counts_become_shares_of_the_valid_ones() -> None:
    counts = {"valid": 8, "active": 6, "hard": 2, "semihard": 4, "easy": 2}
    found = fractions({name: torch.tensor(count) for name, count in counts.items()})
    assert {name: float(share) for name, share in found.items()} == {
        "active_triplet_fraction": 0.75,
        "hard_triplet_fraction": 0.25,
        "semihard_triplet_fraction": 0.5,
        "easy_triplet_fraction": 0.25,
    }
    assert all(share.dtype == torch.float32 for share in found.values())
    huge = fractions({name: torch.tensor(2**40 + 1) for name in counts})  # counts of a large set are exact
    assert all(share == 1.0 for share in huge.values())


def test_arrays_are_taken_and_unusable_input_is_named() -> None:
    x, y = sample(5, 9, 2)
    assert triplet_fractions(x.numpy(), y.numpy()) == triplet_fractions(x, y)
    with pytest.raises(ValueError, match="embeddings must be finite, but row 0"):
        triplet_fractions(x * np.nan, y)
    with pytest.raises(ValueError, match="labels must hold one label per row"):
        triplet_fractions(x, y[:3])
