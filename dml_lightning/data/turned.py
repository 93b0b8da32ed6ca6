"""Turns and mirror images of crops as training classes of their own, where a turned animal or sign is another one."""

import torch
from torch import Tensor

TURNED = (1, 4, 8)  # upright alone, with quarter turns, with mirror images of these
LARGEST_TURN = 45.0  # degrees, from which on an augmentation makes one quarter turn of another


def turn(patches: Tensor, turns: Tensor) -> Tensor:
    """Turns each patch counter-clockwise by a number of quarter turns; from 4 on it is mirrored left to right before.

    >>> patch = torch.tensor([[[[1, 2], [3, 4]]]])
    >>> [turn(patch, torch.tensor([number])).flatten().tolist() for number in (0, 1, 4)]
    [[1, 2, 3, 4], [2, 4, 1, 3], [2, 1, 4, 3]]

    Args:
        patches: Square patches (B, 1, P, P).
        turns: Number (B,) of each, 0 to 7.

    Returns:
        Patches (B, 1, P, P), without any resampling.
    """
    turned = patches.clone()
    for number in set(turns.tolist()) - {0}:
        chosen = turns == number
        before = patches[chosen].flip(-1) if number >= 4 else patches[chosen]
        turned[chosen] = torch.rot90(before, number % 4, (-2, -1))
    return turned


def check_turned(turned_classes: int, rotate: float, flip: float) -> None:
    """Refuses a number of turns that there is not, and an augmentation that turns one class into another.

    Raises:
        ValueError: With the reason.
    """
    if turned_classes not in TURNED:
        raise ValueError(
            f"turned_classes is {turned_classes}: use 1 for none, 4 for quarter turns, 8 with mirror images of these."
        )
    if turned_classes > 1 and (rotate >= LARGEST_TURN or flip > 0):
        raise ValueError(
            f"augmentation with rotate {rotate:g} and flip {flip:g} makes one of {turned_classes} turned classes of "
            f"another: set rotate below {LARGEST_TURN:g} degrees and flip to 0, or turned_classes to 1."
        )


def turned_names(names: list[str], turned_classes: int) -> list[str]:
    """Names of the training classes: all of them upright, then all of them by each further turn.

    >>> turned_names(["a", "b"], 4)[:4]
    ['a', 'b', 'a turned 90', 'b turned 90']
    """
    suffixes = [f"{' mirrored' * (turn // 4)}{f' turned {90 * (turn % 4)}' if turn % 4 else ''}" for turn in range(8)]
    return [f"{name}{suffix}" for suffix in suffixes[:turned_classes] for name in names]
