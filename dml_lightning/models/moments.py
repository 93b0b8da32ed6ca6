"""Layout of an optimizer's states in memory, which that of a checkpoint replaces."""

import torch
from torch import Tensor
from torch.optim import Optimizer


def like_parameters(optimizer: Optimizer) -> None:
    """Lay out states (moments and their like) as their parameters are; numbers stay.

    Channels are the last dimension of one fit and not of the fit whose checkpoint it takes, as where that one was
    sharded. A fused optimizer reads parameter and state by their places in memory: a processor would put the moments of
    other weights to each weight without a word, and a GPU refuses.
    """
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape and value.stride() != parameter.stride():
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
