"""Products of matrices in full precision, whatever the process has chosen, and labels that are refused."""

from typing import Any

import numpy as np
import pytest
import torch

from dml_lightning.losses.functional import batch_all_triplet
from dml_lightning.metrics.classification import balanced_accuracy
from dml_lightning.pairs.blocks import as_labels, full_precision
from tests.pairs.rows import unit


def test_reduced_matrix_precision_is_put_aside_and_back() -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with full_precision(torch.zeros(1)):
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "medium"
        x, labels = unit(64, 32), torch.arange(64) % 4
        reduced = batch_all_triplet(x, labels, 0.2).loss
        torch.set_float32_matmul_precision("highest")
        assert reduced == batch_all_triplet(x, labels, 0.2).loss
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("backend", [torch.backends.mkldnn.matmul, torch.backends.cuda.matmul])
def test_reduced_precision_of_one_backend_is_put_aside_and_back(backend: Any) -> None:
    before = backend.fp32_precision
    backend.fp32_precision = "tf32" if backend is torch.backends.cuda.matmul else "bf16"
    given = backend.fp32_precision
    try:
        with pytest.raises(RuntimeError):
            torch.get_float32_matmul_precision()
        with full_precision(torch.zeros(1)):
            assert backend.fp32_precision == "ieee"
        assert backend.fp32_precision == given
    finally:
        backend.fp32_precision = before


@pytest.mark.parametrize(
    "labels", [torch.tensor([True, False]), np.array([True, False]), torch.zeros(2), 1j * torch.ones(2)]
)
def test_labels_are_integers_and_no_mask(labels: Any) -> None:
    kind = str(labels.dtype).removeprefix("torch.")
    with pytest.raises(ValueError, match=rf"^labels must be integers, got torch.{kind}\.$"):
        as_labels(labels, torch.zeros(2, 3))
    with pytest.raises(ValueError, match=rf"^labels must be integers, got torch.{kind}\.$"):
        balanced_accuracy(labels, torch.tensor([0, 1]))
