"""A ring of past embeddings (cross-batch memory, Wang et al. 2020)."""

from typing import Any

import torch
from torch import Tensor, nn


class Memory(nn.Module):
    """The latest embeddings, oldest first, saved with the checkpoint.

    Args:
        size: how many rows to keep.
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
        """Rows (B, D) and their labels with what is remembered appended."""
        if not len(self):
            return vectors, labels
        return (torch.cat([vectors, self.vectors.to(vectors)]), torch.cat([labels, self.labels.to(labels)]))

    @torch.no_grad()
    def remember(self, vectors: Tensor, labels: Tensor) -> None:
        """Append rows (B, D) and forget the oldest beyond `size`."""
        past = self.vectors.to(vectors) if len(self) else vectors[:0]
        self.vectors = torch.cat([past, vectors.detach()])[-self.size :].clone()
        self.labels = torch.cat([self.labels.to(labels), labels])[-self.size :].clone()

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *args: Any) -> None:
        for name in ("vectors", "labels"):  # the ring's length is part of what is loaded
            if prefix + name in state:
                setattr(self, name, getattr(self, name).new_empty(state[prefix + name].shape))
        super()._load_from_state_dict(state, prefix, *args)
