"""Anchors in blocks within a budget of memory."""

import pytest
import torch

from dml_lightning.pairs import order as layout


@pytest.mark.parametrize("budget", [1, 60, 200, 10**6])
def test_blocks_hold_every_anchor_once_within_the_budget(monkeypatch: pytest.MonkeyPatch, budget: int) -> None:
    monkeypatch.setitem(layout.SORTED_ELEMENTS, "cpu", budget)
    labels = torch.tensor([0] * 9 + [1] * 2 + [2] * 2 + [3] * 5 + [4])
    plan = layout.arrange(labels, labels, 0)
    rows = list(layout.blocks(plan))
    found = [each.block for each in rows]
    assert [i for part in found for i in range(part.start, part.stop)] == list(range(18))
    for part in found:
        width = len(labels) + 2 * int(plan.size[part].max())
        assert part.stop - part.start == 1 or (part.stop - part.start) * width <= budget
    for part, around in rows:
        assert around.start <= part.start < part.stop <= around.stop
        assert around == part or len(plan.start[around].unique()) == 1
