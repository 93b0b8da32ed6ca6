"""Turns and mirror images as classes: pixels, names, and what is refused."""

import numpy as np
import pytest
import torch

from dml_lightning.data.turned import check_turned, turn, turned_names


def test_turns_are_those_of_numpy_and_all_differ() -> None:
    patches = torch.randn(16, 1, 5, 5)
    turns = torch.arange(16) % 8
    turned = turn(patches, turns)
    for patch, number, got in zip(patches[:, 0].numpy(), turns.tolist(), turned[:, 0].numpy(), strict=True):
        before = np.fliplr(patch) if number >= 4 else patch
        np.testing.assert_array_equal(got, np.rot90(before, number % 4))
    of_one = turn(patches[:1].expand(8, 1, 5, 5), torch.arange(8))
    assert len({tuple(each.flatten().tolist()) for each in of_one}) == 8
    assert torch.equal(of_one[0], patches[0])


def test_names_are_in_the_order_of_labels() -> None:
    names = turned_names(["coot", "teal"], 8)
    assert len(set(names)) == 16
    assert names[2 * 5 + 1] == "teal mirrored turned 90"
    assert turned_names(["coot", "teal"], 1) == ["coot", "teal"]


@pytest.mark.parametrize(
    ("turned", "rotate", "flip", "message"),
    [
        (2, 0, 0, "turned_classes is 2: use 1 for none, 4 for quarter turns, 8"),
        (4, 45, 0, "rotate 45 and flip 0 makes one of 4 turned classes of another: set rotate below 45"),
        (8, 10, 0.5, r"flip 0\.5 makes one of 8 turned classes"),
        (4, 10, 0.5, r"flip 0\.5 makes one of 4 turned classes"),
    ],
)
def test_what_would_mix_classes_is_refused(turned: int, rotate: float, flip: float, message: str) -> None:
    check_turned(1, rotate, flip)
    check_turned(8, 44.9, 0.0)
    with pytest.raises(ValueError, match=message):
        check_turned(turned, rotate, flip)
