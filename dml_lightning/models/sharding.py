"""Parameters sharded over ranks, for encoders that are too large for one GPU."""

from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.modules.batchnorm import _BatchNorm


def shard(module: nn.Module, mesh: DeviceMesh) -> None:
    """Shard parameters, their gradients and the optimizer's states over the ranks of a mesh.

    Each block of a backbone is gathered for its own forward and backward alone. A block is a module with layers in an
    `nn.Sequential` or `nn.ModuleList`, as timm builds them. Gradients are averaged over ranks, as
    DistributedDataParallel does. A module that is sharded already stays as it is.

    Args:
        module: Module with an `encoder`, changed in place.
        mesh: Mesh of one dimension.

    Raises:
        ValueError: If batch norm would learn statistics, which would differ from rank to rank: nothing synchronises
            them here, neither `GlobalBatchNorm` nor the broadcast of DistributedDataParallel.
    """
    if isinstance(module, FSDPModule):
        return
    norms = [name for name, each in module.named_modules() if isinstance(each, _BatchNorm)]
    if norms and not getattr(module.encoder, "freeze_batch_norm", False):
        raise ValueError(
            f"with its parameters in shards, {norms[0]} and {len(norms) - 1} more layers of batch norm would learn "
            "other statistics on each rank: take a backbone without batch norm (convnext_*, vit_*), or "
            "encoder.freeze_batch_norm: true."
        )
    rows = [each for each in module.modules() if isinstance(each, nn.Sequential | nn.ModuleList)]
    for row in reversed(rows):  # inner blocks first
        for block in row:
            if any(True for _ in block.children()) and any(True for _ in block.parameters()):
                fully_shard(block, mesh=mesh)
    fully_shard(module, mesh=mesh)
