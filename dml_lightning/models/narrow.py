"""The small backbone of `configs/base.yaml`, under a name of its own: any name of timm is timm's model as it is."""

from typing import Any

import timm
from timm.models import generate_default_cfgs, register_model
from torch import nn

from dml_lightning.models.small_maps import leave_out_padding

CHANNELS, STEM_WIDTH = (24, 48, 96, 192), 16
default_cfgs = generate_default_cfgs({"resnet10t_narrow": {"first_conv": "conv1.0", "classifier": "fc"}})  # for timm


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
