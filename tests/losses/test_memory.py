"""The latest rows of past batches."""

import pytest
import torch

from dml_lightning.losses.memory import Memory


def test_memory_holds_the_latest_rows() -> None:
    memory = Memory(5)
    first, second = torch.rand(3, 2), torch.rand(4, 2, requires_grad=True)
    memory.remember(first, torch.tensor([0, 1, 2]))
    assert len(memory) == 3
    memory.remember(second, torch.tensor([3, 4, 5, 6]))
    assert memory.labels.tolist() == [2, 3, 4, 5, 6]
    assert torch.equal(memory.vectors, torch.cat([first[2:], second]))
    assert not memory.vectors.requires_grad


def test_memory_size_is_checked() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Memory(0)
