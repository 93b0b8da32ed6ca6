"""Threads of a process: one for a small encoder on a processor, unless the user says otherwise."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from dml_lightning.runs import threads
from dml_lightning.runs.threads import choose_threads

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def three() -> Iterator[None]:
    """Three threads before, and as many as before after the test."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("given", "variable", "device", "expected"),
    [(None, None, CPU, 1), (None, None, GPU, 3), (None, "2", CPU, 2), (2, "4", CPU, 2), (None, "many", CPU, 1)],
)
def test_the_user_s_word_wins(
    given: int | None, variable: str | None, device: torch.device, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if variable is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    choose_threads(given, nn.Linear(2, 2), device)
    assert torch.get_num_threads() == expected


def test_a_large_encoder_keeps_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "SMALL", 6)
    choose_threads(None, nn.Linear(2, 2), CPU)
    assert torch.get_num_threads() == 3


def test_no_thread_is_an_error() -> None:
    with pytest.raises(ValueError, match="threads is 0; it must be at least 1"):
        choose_threads(0, nn.Linear(2, 2), CPU)
