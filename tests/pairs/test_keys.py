"""Distances as integers that order alike."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dml_lightning.pairs.keys import LAST, first_places, narrow_keys, smallest, stable_order, wide_keys

FLOATS = st.one_of(
    st.floats(0, np.inf, width=32),
    st.sampled_from([0.0, 1.401298464324817e-45, 1.0, float(np.nextafter(np.float32(1), np.float32(2))), np.inf]),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(FLOATS, min_size=1, max_size=30))
def test_narrow_keys_order_as_distances_do(values: list[float]) -> None:
    squared = torch.tensor([values], dtype=torch.float32)
    keys = narrow_keys(squared.clone())
    assert keys.dtype == torch.int32
    assert not (keys % 2).any()  # the lowest bit is free
    one, two = squared[0], keys[0].long()
    assert torch.equal(one[:, None] < one, two[:, None] < two)
    assert torch.equal(one[:, None] == one, two[:, None] == two)


def test_narrow_keys_take_the_place_of_the_distances() -> None:
    squared = torch.rand(3, 4)
    assert narrow_keys(squared).data_ptr() == squared.data_ptr()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2**40), st.booleans()), min_size=1, max_size=20))
def test_wide_keys_break_ties_and_keep_the_lowest_bit(rows: list[tuple[int, int, bool]]) -> None:
    keys = narrow_keys(torch.tensor([[float(distance) for distance, _, _ in rows]]))
    keys += torch.tensor([[bit for _, _, bit in rows]], dtype=torch.int32)
    wide = wide_keys(keys, torch.tensor([[ties for _, ties, _ in rows]]))[0]
    assert (wide & 1).tolist() == [int(bit) for _, _, bit in rows]
    assert (wide < LAST).all()
    expected = [(distance, (ties & 0xFFFFFFFF) >> 1, bit) for distance, ties, bit in rows]
    for one, first in zip(wide.tolist(), expected, strict=True):
        for two, second in zip(wide.tolist(), expected, strict=True):
            assert (one < two) == (first < second)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 20), st.data())
def test_smallest_are_the_first_of_a_sort(seed: int, columns: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, columns))
    keys = torch.randint(-9, 9, (4, columns), generator=torch.Generator().manual_seed(seed))
    expected = keys.sort(dim=1).values
    assert torch.equal(smallest(keys, count), expected[:, :count])
    assert torch.equal(keys.sort(dim=1).values, expected)  # nothing is lost


def test_equal_keys_keep_their_order() -> None:
    values = torch.tensor([[2.0, 1.0, 2.0, 0.0, 1.0, torch.inf, 0.0]])
    for keys in (values, values.double(), values.clamp_max(9).long()):
        assert stable_order(keys).tolist() == [[3, 6, 1, 4, 0, 2, 5]]
    many = torch.randint(0, 50, (5, 3000), generator=torch.Generator().manual_seed(0)).float()
    assert torch.equal(stable_order(many), torch.sort(many, dim=1, stable=True).indices)


@settings(max_examples=50, deadline=None)
@given(st.lists(FLOATS, min_size=1, max_size=30), st.data())
def test_first_places_are_the_first_of_a_stable_sort(values: list[float], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(values)))
    squared = torch.tensor([values, values[::-1]], dtype=torch.float32)
    kept = squared.clone()
    assert torch.equal(first_places(squared, count), squared.sort(dim=1, stable=True).indices[:, :count])
    assert torch.equal(squared, kept)
