"""Convolutions of maps of a few px, where most taps see padding alone."""

import torch.nn.functional as F
from torch import Tensor, nn

PLAIN = (3, 3, 1, 1, 1, 1, 1, "zeros")  # kernel, padding, dilation, groups and mode of what `SmallMapConv2d` does


class SmallMapConv2d(nn.Conv2d):
    """A 3 x 3 convolution with one px of padding that leaves out the taps which see padding alone.

    Where one px comes out, it is a matrix product; libraries of convolutions take several times as long there, most of
    all in bfloat16. Crops of 32 px reach the last stage with 2 px.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Convolve a batch (B, C, H, W)."""
        height, width = images.shape[-2:]
        if max(height, width) > min(2, *self.stride):
            return super().forward(images)
        seen = self.weight[:, :, 1 : 1 + height, 1 : 1 + width]
        return F.linear(images.flatten(1), seen.flatten(1), self.bias)[:, :, None, None]


def leave_out_padding(model: nn.Module) -> nn.Module:
    """Make each convolution of a model that can be one a `SmallMapConv2d`, with the same weights by the same names."""
    for layer in (each for each in model.modules() if type(each) is nn.Conv2d):
        if (*layer.kernel_size, *layer.padding, *layer.dilation, layer.groups, layer.padding_mode) == PLAIN:
            layer.__class__ = SmallMapConv2d
    return model
