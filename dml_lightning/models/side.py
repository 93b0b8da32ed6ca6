"""Side inputs of crops (size, contrast) as features beside those of a backbone."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIDE_FEATURES = 32
LEAST_SPREAD = 0.1  # of a logarithm; less is not told apart by a box


class SideFeatures(nn.Module):
    """Standardised logarithms of side inputs through one layer with ReLU.

    Location and scale are set once, before training, and kept in checkpoints: they are the same in training and
    evaluation, on every rank, and for a crop on its own.

    Args:
        count: Number n of side inputs.

    Example:
        >>> SideFeatures(2)(torch.tensor([[11.0, 4.0]])).shape
        torch.Size([1, 32])
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self.register_buffer("location", torch.zeros(count))
        self.register_buffer("scale", torch.ones(count))
        self.layer = nn.Linear(count, SIDE_FEATURES)

    def standardise(self, side: Tensor) -> None:
        """Takes mean and standard deviation of the logarithms of side inputs (N, n)."""
        logarithms = side.double().log()
        self.get_buffer("location").copy_(logarithms.mean(dim=0))
        self.get_buffer("scale").copy_(logarithms.std(dim=0, correction=0).clamp(min=LEAST_SPREAD))

    def forward(self, side: Tensor) -> Tensor:
        """Features (B, 32) of side inputs (B, n), which are above 0."""
        standardised = (side.log() - self.get_buffer("location")) / self.get_buffer("scale")
        return F.relu(self.layer(standardised))
