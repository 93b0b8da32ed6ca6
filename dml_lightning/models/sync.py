"""Batch norm over the global batch, for backbones whose layer of batch norm includes the activation."""

from lightning.pytorch.plugins import LayerSync
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from typing_extensions import override


class GlobalBatchNorm(LayerSync):
    """Trainer plugin by which batch norm takes its statistics from the global batch; on GPUs only.

    Use it instead of the trainer's `sync_batchnorm`, which replaces timm's layer of batch norm *and*
    activation (EfficientNet, MobileNet, RegNet and others) by batch norm alone and so silently trains
    another network.
    """

    def __init__(self) -> None:
        self._before: dict[str, nn.Module] = {}

    @override
    def apply(self, model: nn.Module) -> nn.Module:
        """Synchronise every batch norm of the model; parameters and buffers stay the same tensors."""
        from timm.layers import convert_sync_batchnorm  # timm takes two seconds

        for name, module in list(model.named_modules()):
            if isinstance(module, _BatchNorm) and not isinstance(module, nn.SyncBatchNorm):
                self._before[name] = module
                model.set_submodule(name, convert_sync_batchnorm(module))
        return model

    @override
    def revert(self, model: nn.Module) -> nn.Module:
        """Put the original layers back, with the parameters and buffers learnt since."""
        for name, module in self._before.items():
            learnt = model.get_submodule(name)
            module._parameters, module._buffers = learnt._parameters, learnt._buffers
            model.set_submodule(name, module.train(learnt.training))
        self._before = {}
        return model


def refuse_lost_activations(model: nn.Module) -> None:
    """Refuse a model in which `sync_batchnorm` has dropped activations of the backbone.

    Raises:
        ValueError: If there is such a layer.

    Example:
        >>> refuse_lost_activations(nn.SyncBatchNorm(8))  # torch's own layer has no activation to lose
    """
    # only timm's layer has children, its activation among them; torch's layer keeps but never calls them
    lost = [
        name
        for name, module in model.named_modules()
        if type(module) is nn.SyncBatchNorm and any(True for _ in module.children())
    ]
    if lost:
        raise ValueError(
            f"sync_batchnorm has dropped the activations of {len(lost)} layers of this backbone, {lost[0]} the "
            "first: leave it out and give the trainer plugins: [dml_lightning.models.GlobalBatchNorm]."
        )
