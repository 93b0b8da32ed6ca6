"""Arrays and blocks of rows, with and without PyTorch."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from dml_lightning.pairs.arrays import row_blocks, to_numpy


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.int64])
def test_a_tensor_becomes_an_array_of_its_values(dtype: torch.dtype) -> None:
    array = to_numpy(torch.tensor([1, 2, 3], dtype=dtype))
    assert array.tolist() == [1, 2, 3]
    assert array.dtype == (np.float32 if dtype == torch.bfloat16 else str(dtype).removeprefix("torch."))


def test_an_array_needs_no_pytorch() -> None:
    code = (
        "import sys; from dml_lightning.pairs.arrays import to_numpy; print(to_numpy([1, 2]), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[1 2] False\n"


def test_blocks_are_all_rows_in_order() -> None:
    blocks = list(row_blocks(7, columns=3, elements=7))
    assert np.concatenate([np.arange(7)[block] for block in blocks]).tolist() == list(range(7))
    assert [block.stop - block.start for block in blocks] == [2, 2, 2, 1]
