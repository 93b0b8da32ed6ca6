"""Density, spectrum and class distances against the definitions, written out."""

import math
from itertools import combinations, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.distance import cosine, euclidean
from scipy.stats import entropy

from dml_lightning.metrics.structure import class_distances, embedding_density, spectral_decay, worst_class_gap

NAMES = ["teal", "goose", "coot", "swan", "loon", "gull"]


def sample(seed: int, sizes: tuple[int, ...], dim: int = 5) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    vectors = rng.normal(size=(len(labels), dim)) + 2 * rng.normal(size=(len(sizes), dim))[labels]
    order = rng.permutation(len(labels))
    return vectors[order], labels[order]


def slow_density(x: NDArray[np.float64], y: NDArray[np.int64]) -> tuple[float, float]:
    """Roth et al.: class by class, pair by pair."""
    members = [x[y == c] for c in np.unique(y) if (y == c).sum() > 1]
    intra = np.mean([np.mean([cosine(a, b) for a, b in combinations(rows, 2)]) for rows in members])
    means = [rows.mean(0) / np.linalg.norm(rows.mean(0)) for rows in members]
    return float(intra), float(np.mean([cosine(a, b) for a, b in combinations(means, 2)]))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.integers(1, 5), min_size=2, max_size=6))
def test_density(seed: int, sizes: list[int]) -> None:
    x, y = sample(seed, tuple(sizes))
    got = embedding_density(x, y)
    assert got.singletons == sizes.count(1)
    if len(sizes) - sizes.count(1) < 2:
        assert math.isnan(got.density)
        return
    intra, inter = slow_density(x, y)
    assert got.intra == pytest.approx(intra, rel=1e-9, abs=1e-12)
    assert got.inter == pytest.approx(inter, rel=1e-9, abs=1e-12)
    assert got.density == pytest.approx(intra / inter, rel=1e-9)


def test_density_of_nearly_equal_vectors_keeps_its_digits() -> None:
    angles = torch.tensor([0.0, 1e-7, 1.0, 1.0 + 2e-7], dtype=torch.float64)
    x = torch.stack([angles.cos(), angles.sin()], dim=1)
    expected = (2 * math.sin(0.5e-7) ** 2 + 2 * math.sin(1e-7) ** 2) / 2
    assert embedding_density(x, torch.tensor([0, 0, 1, 1])).intra == pytest.approx(expected, rel=1e-6)


def test_density_is_of_directions_and_of_classes_not_of_lengths_or_sizes() -> None:
    x, y = sample(0, (4, 4, 4))
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    assert embedding_density(7 * unit, y).density == pytest.approx(embedding_density(unit, y).density)
    once = embedding_density(unit, y)
    alone = embedding_density(np.vstack([unit, -unit[:1]]), np.append(y, 5))
    assert (alone.density, alone.singletons) == (pytest.approx(once.density), 1)


def test_a_zero_vector_has_no_direction() -> None:
    x, y = sample(0, (3, 3))
    x[2] = 0
    assert math.isnan(embedding_density(x, y).density)


@pytest.mark.parametrize(("rows", "dim"), [(30, 5), (5, 30), (7, 7), (1, 4)])
def test_spectral_decay(rows: int, dim: int) -> None:
    x = np.random.default_rng(rows).normal(size=(rows, dim))
    values = np.sqrt(np.linalg.eigvalsh(x @ x.T if rows <= dim else x.T @ x))
    uniform = np.full(min(rows, dim), 1 / min(rows, dim))
    assert spectral_decay(x) == pytest.approx(entropy(uniform, values / values.sum()), abs=1e-9)


def test_spectral_decay_at_its_ends() -> None:
    assert spectral_decay(torch.eye(4)) == pytest.approx(0, abs=1e-12)
    assert spectral_decay(torch.eye(4)[:, [0, 0, 1, 2]]) == math.inf
    generator = torch.Generator().manual_seed(0)
    flat = torch.randn(50, 2, generator=generator) @ torch.randn(2, 4, generator=generator)
    assert spectral_decay(flat) == math.inf  # but for rounding
    assert spectral_decay(flat.double()) < math.inf
    collapsed = torch.nn.functional.normalize(torch.ones(9, 4) + 1e-9 * torch.randn(9, 4), dim=1)
    assert spectral_decay(collapsed) == math.inf
    stretched = torch.eye(4) * torch.tensor([1.0, 0.5, 0.25, 1e-4])
    assert 0.5 < spectral_decay(stretched) < math.inf
    assert math.isnan(spectral_decay(torch.zeros(3, 2)))
    assert math.isnan(spectral_decay(torch.zeros(0, 2)))


def test_class_distances_by_name() -> None:
    x, y = sample(3, (4, 1, 3))
    table = class_distances(x, 2 * y, NAMES)  # classes 0, 2 and 4 of the names
    assert list(table.index) == list(table.columns) == ["teal", "coot", "loon"]
    for i, j in product(range(3), repeat=2):
        pairs = [euclidean(x[a], x[b]) for a in np.flatnonzero(y == i) for b in np.flatnonzero(y == j) if a != b]
        expected = np.mean(pairs) if pairs else np.nan
        got = table.loc[NAMES[2 * i], NAMES[2 * j]]
        assert got == pytest.approx(expected, nan_ok=True)
    distances = {pair: float(table.loc[pair]) for pair in product(("teal", "loon"), repeat=2)}
    within = max(distances["teal", "teal"], distances["loon", "loon"])
    assert worst_class_gap(table) == pytest.approx(distances["teal", "loon"] - within)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.integers(2, 4), min_size=2, max_size=4))
def test_satisfied_triplets_bound_the_distance_of_every_class_pair(seed: int, sizes: list[int]) -> None:
    x, y = sample(seed, tuple(sizes))
    d = np.linalg.norm(x[:, None] - x, axis=2)
    same = y[:, None] == y
    others = ~np.eye(len(y), dtype=bool)
    margin = min(  # the largest that every triplet satisfies, be it negative
        d[a][~same[a]].min() - d[a][same[a] & others[a]].max() for a in range(len(y))
    )
    assert worst_class_gap(class_distances(x, y, NAMES)) >= margin - 1e-9


def test_no_class_pair_no_gap() -> None:
    assert math.isnan(worst_class_gap(class_distances(*sample(0, (3, 1)), NAMES)))
