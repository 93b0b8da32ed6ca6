"""Threads of PyTorch in one process: one for a small encoder on a processor.

OpenMP's threads wait for each other by spinning. The layers of a small encoder are short, so that a second thread saves
little time, and beside any other process that computes it costs a multiple: whoever waits holds the core that the other
needs.
"""

import os

import torch
from torch import nn

SMALL = 20_000_000  # parameters; a ResNet-18 has 11 million, a ResNet-50 25 million


def choose_threads(given: int | None, encoder: nn.Module, device: torch.device) -> None:
    """Sets the number of threads of this process.

    What the user says wins: the option, then the variable OMP_NUM_THREADS, which PyTorch has obeyed when it was
    imported, unless it was set since.

    Args:
        given: Number of threads; None if the user gave none.
        encoder: The encoder that is trained or evaluated.
        device: Its device.

    Raises:
        ValueError: If the number is below 1.
    """
    if given is not None and given < 1:
        raise ValueError(f"threads is {given}; it must be at least 1.")
    variable = os.environ.get("OMP_NUM_THREADS", "")
    if given is not None:
        torch.set_num_threads(given)
    elif variable.isdigit() and int(variable) > 0:
        torch.set_num_threads(int(variable))
    elif device.type == "cpu" and sum(each.numel() for each in encoder.parameters()) < SMALL:
        torch.set_num_threads(1)
