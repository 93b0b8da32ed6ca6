"""Answers in kind, and states within states."""

import numpy as np
import pytest
import torch

from dml_lightning.openset.arrays import beside, like, nested, unnested


def test_a_tensor_for_a_tensor_and_an_array_for_an_array() -> None:
    result = torch.tensor([1.0, 2.0], dtype=torch.float64)
    assert like(result, torch.zeros(1)) is result
    found = like(result, np.zeros(1))
    assert isinstance(found, np.ndarray)
    assert (found.tolist(), found.dtype) == ([1, 2], np.float64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_lie_beside_the_vectors_in_double_precision(dtype: torch.dtype) -> None:
    found = beside(np.array([1.0, 1e-300]), torch.zeros(2, dtype=dtype))
    assert found.dtype == torch.float64
    assert found.tolist() == [1, 1e-300]


def test_a_state_comes_out_of_another_as_it_went_in() -> None:
    inner = {"value": np.array(2.5), "scores": np.arange(3.0)}
    outer = nested("threshold", inner) | {"thresholds.of_others": np.zeros(1), "weight": np.ones(2)}
    assert set(nested("threshold", inner)) == {"threshold.value", "threshold.scores"}
    found = unnested("threshold", outer)
    assert found.keys() == inner.keys()
    assert all(np.array_equal(found[name], inner[name]) for name in inner)
    assert unnested("nothing", outer) == {}
