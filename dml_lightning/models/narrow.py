"""The small backbone of `configs/base.yaml`, under a name of its own: any name of timm is timm's model as it is."""

from typing import Any

import timm
import torch.nn.functional as F
from timm.models import generate_default_cfgs, register_model
from torch import Tensor, nn

CHANNELS, STEM_WIDTH = (24, 48, 96, 192), 16
PLAIN = (3, 3, 1, 1, 1, 1, 1, "zeros")  # kernel, padding, dilation, groups and mode of what `SmallMapConv2d` does
default_cfgs = generate_default_cfgs({"resnet10t_narrow": {"first_conv": "conv1.0", "classifier": "fc"}})  # for timm


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


@register_model  # type: ignore[untyped-decorator]  # timm declares no type for it
def resnet10t_narrow(pretrained: bool = False, **arguments: Any) -> nn.Module:
    """Make timm's resnet10t with narrower stages, for small crops: 0.7 M parameters in place of 4.9 M.

    Args:
        pretrained: Whether to load the weights of a given file; none are published.
        arguments: Further arguments of `timm.create_model`; `channels` and `stem_width` replace those of here.

    Example:
        >>> timm.create_model("resnet10t_narrow", num_classes=0).num_features
        192
    """
    model: nn.Module = timm.create_model(
        "resnet10t", pretrained=pretrained, **{"channels": CHANNELS, "stem_width": STEM_WIDTH, **arguments}
    )
    return leave_out_padding(model)
