"""Which losses of pytorch-metric-learning are taken, and the sizes of their proxies.

C classes, D embedding size.
"""

import inspect
from collections.abc import Callable
from typing import Any

from pytorch_metric_learning.losses import BaseMetricLossFunction, MultipleLosses
from torch import nn

# Wrappers of the library that are no loss by themselves, each with the way to get what it is for.
NOT_TAKEN = {
    "CrossBatchMemory": "does not save its memory in a checkpoint; TripletLoss(memory_size=...) does",
    "SelfSupervisedLoss": "makes labels of two views of a crop, and crops here have labels; give the loss inside of it",
}


def check_kind(loss: Any) -> None:
    """Refuse what is no loss of the library and makes none.

    Raises:
        ValueError: If it is neither a loss nor a sum of losses nor a function that returns one.
    """
    name = type(loss).__name__
    if isinstance(loss, BaseMetricLossFunction):
        return
    if isinstance(loss, MultipleLosses):
        for each in loss.losses.children():
            check_kind(each)
    elif name in NOT_TAKEN:
        raise ValueError(f"pytorch-metric-learning's {name} {NOT_TAKEN[name]}.")
    elif isinstance(loss, nn.Module) or not callable(loss):
        raise ValueError(f"loss must be one of pytorch-metric-learning's, got {name}")


def sized(make: Callable[..., BaseMetricLossFunction], num_classes: int, embedding_dim: int) -> BaseMetricLossFunction:
    """Make a loss with parameters for C classes and D dimensions.

    Args:
        make: Class of the loss, or a partial call of it.
        num_classes: Number C of classes.
        embedding_dim: Embedding size D.

    Raises:
        ValueError: If the call has other sizes already, or does not make a loss of the library from them.

    Example:
        >>> from pytorch_metric_learning.losses import ProxyAnchorLoss
        >>> sized(ProxyAnchorLoss, num_classes=4, embedding_dim=8).proxies.shape
        torch.Size([4, 8])
    """
    given = getattr(make, "keywords", {})
    names = {*given, *inspect.signature(make).parameters}
    dimension = "descriptors_dim" if "descriptors_dim" in names else "embedding_size"
    sizes = {"num_classes": num_classes, dimension: embedding_dim}
    for name, size in sizes.items():
        if given.get(name) not in (None, size):
            raise ValueError(
                f"{name} is {given[name]}, but {_there_are(name, size)}: leave it out, and it is taken from there."
            )
    try:
        loss = make(**sizes)
    except TypeError as error:
        raise ValueError(f"the loss cannot be made with num_classes and {dimension}: {error}") from error
    check_kind(loss)
    return loss


def check_sizes(loss: nn.Module | None, num_classes: int, embedding_dim: int) -> None:
    """Refuse a loss whose parameters are not of C classes and D dimensions.

    Raises:
        ValueError: If a size differs: fewer classes than there are end in an index error, more are never trained
            on and push all others away.
    """
    if isinstance(loss, MultipleLosses):
        for each in loss.losses.children():
            check_sizes(each, num_classes, embedding_dim)
        return
    classes, dim = sizes_of(loss)
    for name, found, size in (("num_classes", classes, num_classes), ("embedding_size", dim, embedding_dim)):
        if found not in (None, size):
            raise ValueError(
                f"{type(loss).__name__}: {name} is {found}, but {_there_are(name, size)}: make it with "
                f"{size}, or give the class {type(loss).__name__} itself, which takes it from there."
            )


def sizes_of(loss: nn.Module | None) -> tuple[int | None, int | None]:
    """C and D of a loss's parameters; None for what it has none of.

    Example:
        >>> from pytorch_metric_learning.losses import ArcFaceLoss, ContrastiveLoss
        >>> sizes_of(ArcFaceLoss(num_classes=4, embedding_size=8)), sizes_of(ContrastiveLoss())
        ((4, 8), (None, None))
    """
    if (proxies := getattr(loss, "proxies", None)) is not None:  # (C, D)
        return proxies.shape[0], proxies.shape[1]
    for name in ("W", "weight", "fc"):  # (D, C times the centres of a class)
        if (weight := getattr(loss, name, None)) is not None:
            # the library lists sizes that it did not keep as 0
            return getattr(loss, "num_classes", 0) or weight.shape[1], weight.shape[0]
    margins: Any = getattr(loss, "beta", None)  # of MarginLoss, one for each class
    return (len(margins), None) if getattr(margins, "ndim", 0) == 1 and len(margins) > 1 else (None, None)


def _there_are(name: str, size: int) -> str:
    what = "known classes" if name == "num_classes" else "dimensions of the encoder's embedding"
    return f"there are {size} {what}"
