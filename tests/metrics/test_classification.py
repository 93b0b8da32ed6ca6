import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score
from sklearn.neighbors import NearestCentroid, NearestNeighbors

from dml_lightning.metrics.classification import (
    balanced_accuracy,
    class_means,
    commonest_labels,
    knn_labels,
    nearest_prototype_labels,
)
from dml_lightning.pairs.neighbours import nearest_neighbours


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 20), m=st.integers(1, 30))
def test_neighbours_equal_scikit_learn(seed: int, n: int, m: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x, z = torch.randn(n, 6, generator=generator), torch.randn(m, 6, generator=generator)
    k = min(5, m)
    distances, rows = nearest_neighbours(x, z, k)
    peer = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(z.double().numpy())
    expected, columns = peer.kneighbors(x.double().numpy())
    assert distances.numpy() == pytest.approx(expected, rel=1e-6)
    assert rows.tolist() == columns.tolist()


def test_equal_neighbours_are_drawn_by_the_seed() -> None:
    x, z = torch.zeros(1, 2), torch.ones(4, 2)
    drawn = {int(nearest_neighbours(x, z, 1, seed=s).rows) for s in range(40)}
    assert drawn == {0, 1, 2, 3}
    assert sorted(nearest_neighbours(x, z, 4).rows[0].tolist()) == [0, 1, 2, 3]


def test_votes() -> None:
    neighbours = torch.tensor([[3, 1, 1], [2, 0, 5], [4, 7, 7], [0, 0, 9]])
    assert commonest_labels(neighbours).tolist() == [1, 2, 7, 0]
    assert commonest_labels(torch.tensor([[1, 2, 2, 1]])).tolist() == [1]  # a draw: the nearest decides


def test_knn_labels() -> None:
    z, w = torch.tensor([[0.0], [1.0], [1.2], [9.0]]), torch.tensor([4, 6, 6, 8])
    x = torch.tensor([[0.1], [8.0]])
    assert knn_labels(x, z, w, k=1).tolist() == [4, 8]
    assert knn_labels(x, z, w, k=3).tolist() == [6, 6]


def test_nearest_prototype_equals_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(0)
    z, w = torch.randn(60, 5, generator=generator), torch.randint(4, (60,), generator=generator) * 3
    x = torch.randn(50, 5, generator=generator)
    peer = NearestCentroid().fit(z.numpy(), w.numpy())
    assert nearest_prototype_labels(x, z, w).tolist() == peer.predict(x.numpy()).tolist()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30))
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")  # so it may, here too
@pytest.mark.filterwarnings("ignore:A single label was found")  # hypothesis finds that as well
def test_balanced_accuracy_equals_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    truth, predicted = map(torch.tensor, zip(*pairs, strict=True))
    expected = balanced_accuracy_score(truth.numpy(), predicted.numpy())
    assert balanced_accuracy(truth, predicted) == pytest.approx(expected)


def test_labels_come_first_and_empty_is_undefined() -> None:
    assert balanced_accuracy(torch.tensor([0, 0, 1]), torch.tensor([0, 0, 0])) == 0.5
    empty = torch.empty(0, dtype=torch.int64)
    assert math.isnan(balanced_accuracy(empty, empty))


def test_errors() -> None:
    x = torch.randn(3, 2)
    with pytest.raises(ValueError, match="between 1 and the number of references, 3"):
        nearest_neighbours(x, x, 4)
    with pytest.raises(ValueError, match="between 1"):
        nearest_neighbours(x, x, 0)
    with pytest.raises(ValueError, match="dimensions"):
        nearest_neighbours(x, x[:, :1], 1)
    with pytest.raises(ValueError, match="at least one embedding"):
        class_means(x[:0], torch.empty(0).long())
    with pytest.raises(ValueError, match="one label per row"):
        balanced_accuracy(torch.tensor([1]), torch.tensor([1, 2]))
