"""Memory of past embeddings (cross-batch memory, Wang et al. 2020)."""

from typing import Any

import torch
from torch import Tensor, nn


class Memory(nn.Module):
    """The latest embeddings, oldest first, saved with the checkpoint.

    Args:
        size: Number M of rows to keep, at least 1.

    Raises:
        ValueError: If the size is below 1.

    Example:
        >>> memory = Memory(size=2)
        >>> memory.remember(torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([0, 1, 2]))
        >>> memory.behind(torch.tensor([[5.0]]), torch.tensor([7]))[1]
        tensor([7, 1, 2])
    """

    vectors: Tensor  # (M, D), M <= size
    labels: Tensor  # (M,)

    def __init__(self, size: int) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"memory size must be at least 1, got {size}")
        self.size = size
        self.register_buffer("vectors", torch.empty(0, 0))
        self.register_buffer("labels", torch.empty(0, dtype=torch.long))

    def __len__(self) -> int:
        return len(self.labels)

    def behind(self, vectors: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Append the remembered rows to rows (B, D) and their labels (B,)."""
        if not len(self):
            return vectors, labels
        return (torch.cat([vectors, self.vectors.to(vectors)]), torch.cat([labels, self.labels.to(labels)]))

    @torch.no_grad()
    def remember(self, vectors: Tensor, labels: Tensor) -> None:
        """Keep rows (B, D) with labels (B,), and forget the oldest beyond `size`."""
        past = self.vectors.to(vectors) if len(self) else vectors[:0]
        self.vectors = torch.cat([past, vectors.detach()])[-self.size :].clone()
        self.labels = torch.cat([self.labels.to(labels), labels])[-self.size :].clone()

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *args: Any) -> None:
        for name in ("vectors", "labels"):  # a checkpoint may hold another number of rows than there are now
            if prefix + name in state:
                setattr(self, name, getattr(self, name).new_empty(state[prefix + name].shape))
        super()._load_from_state_dict(state, prefix, *args)
