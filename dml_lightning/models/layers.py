"""Learning rates by depth: the layers of a pretrained backbone that lie far from its output change less."""

from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.optim import Optimizer


def split_by_layer(groups: Iterable[dict[str, Any]], backbone: nn.Module, layer_decay: float) -> list[dict[str, Any]]:
    """Take a backbone's parameters out of their groups, and append a group for each of its layers.

    Layers are those of timm's `group_matcher`, as in `timm.optim.param_groups_layer_decay`, of which the factors of
    BEiT (Bao et al. 2022) are taken, with one more step: timm gives 1 to its classifier, which is none here, and the
    last layer lies below the projection.

    Args:
        groups: Groups of parameters, `{"params": list, ...}`.
        backbone: Backbone whose parameters are among them.
        layer_decay: Factor from each layer to the one before it, in (0, 1).

    Returns:
        Groups for an optimizer; those of layers have a `lr_scale`, see `scale_rates`.

    Raises:
        ValueError: If timm tells no layers of the backbone apart.
    """
    from timm.optim import param_groups_layer_decay  # timm takes two seconds

    own = {id(parameter) for parameter in backbone.parameters()}
    rest = [{**group, "params": [each for each in group["params"] if id(each) not in own]} for group in groups]
    layers = []
    if own:
        layers = param_groups_layer_decay(backbone, weight_decay_exclude_1d=False, layer_decay=layer_decay)
    if len(layers) < 2:
        raise ValueError("layer_decay has no effect: timm tells no layers of this backbone apart; leave it out.")
    scaled = [{"params": each["params"], "lr_scale": layer_decay * each["lr_scale"]} for each in layers]
    return [*(group for group in rest if group["params"]), *scaled]


def scale_rates(optimizer: Optimizer) -> None:
    """Multiply the learning rate of each group by its `lr_scale`, where it has one."""
    for group in optimizer.param_groups:
        if "lr_scale" in group:
            group["lr"] *= group.pop("lr_scale")
