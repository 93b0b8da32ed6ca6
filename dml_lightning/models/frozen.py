"""Features of a frozen backbone, computed once for each crop."""

from collections.abc import Callable

import torch
from torch import Tensor


class FeatureCache:
    """Features by the index of their crop, in the computer's memory: 4 W bytes a crop in float32.

    Right only where the features of an index never change: a frozen backbone in evaluation mode, and crops without
    augmentation.

    >>> cache = FeatureCache()
    >>> cache(torch.ones(2, 1), torch.tensor([7, 3]), lambda images: images + 1)[0]
    tensor([2.])
    >>> cache(torch.ones(1, 1), torch.tensor([3]), lambda images: images + 9)
    tensor([[2.]])
    """

    def __init__(self) -> None:
        self._rows: dict[int, Tensor] = {}

    def clear(self) -> None:
        """Forget all features, as other crops or weights follow."""
        self._rows = {}

    def __call__(self, images: Tensor, index: Tensor, compute: Callable[[Tensor], Tensor]) -> Tensor:
        """Return features without a gradient; those of crops that are new are computed.

        Args:
            images: Crops (B, ...).
            index: Index (B,) of each crop.
            compute: Function from crops (M, ...) to features (M, W).

        Returns:
            Features (B, W) on the device of the crops.
        """
        keys = index.tolist()
        new = [place for place, key in enumerate(keys) if key not in self._rows]
        if new:
            with torch.no_grad():
                rows = compute(images[new]).cpu()
            self._rows.update(zip((keys[place] for place in new), rows, strict=True))
        return torch.stack([self._rows[key] for key in keys]).to(images.device)
