"""What W ranks compute must be what one process computes: value, direction and norm of the gradient."""

import pytest
import torch
from torch import Tensor

from dml_lightning import losses
from tests.losses.on_ranks import CLASSIFICATION, EMBEDDING, EVERY, shares, step
from tests.ranks import Gloo

PLANS = ["asymmetric", "p-by-k", "shuffled", "no-triplet-here", "none-anywhere", "one-each", "empty-rank"]


CLUTTERED = ["clutter-on-one-rank", "clutter-unequal", "clutter-alone"]
TAKE_CLUTTER = [name for name, make in EMBEDDING.items() if make().takes_clutter]


@pytest.mark.parametrize("plan", CLUTTERED)
@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("name", TAKE_CLUTTER)
def test_ranks_with_clutter_equal_one_process(gloo: Gloo, name: str, world: int, plan: str) -> None:
    check_ranks(gloo, name, world, plan)


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("name", EVERY)
def test_ranks_equal_one_process(gloo: Gloo, name: str, world: int, plan: str) -> None:
    check_ranks(gloo, name, world, plan)


def check_ranks(gloo: Gloo, name: str, world: int, plan: str) -> None:
    features, labels = shares(world, plan)
    value, counts, gradient = step(name, torch.cat(features), torch.cat(labels))
    for result, found_counts, found_gradient in gloo(world).run(step, name, features, labels):
        torch.testing.assert_close(result, value, rtol=1e-12, atol=1e-14)
        assert found_counts == counts
        torch.testing.assert_close(found_gradient, gradient, rtol=1e-9, atol=1e-12)
        if gradient.norm() > 1e-6:
            cosine = torch.cosine_similarity(found_gradient, gradient, dim=0)
            assert cosine.item() == pytest.approx(1, abs=1e-12)
            assert (found_gradient.norm() / gradient.norm()).item() == pytest.approx(1, abs=1e-9)
    if plan in ("asymmetric", "clutter-on-one-rank", "clutter-unequal"):
        assert gradient.norm() > 1e-3


def refusal(name: str, features: Tensor, labels: Tensor) -> str:
    """The error of a loss on embeddings."""
    try:
        EVERY[name]()(features, labels)
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", EMBEDDING)
def test_an_embedding_of_one_rank_that_is_not_finite_is_refused_by_all(gloo: Gloo, name: str) -> None:
    """A rank that went on alone would wait for the others."""
    _, labels = shares(2, "asymmetric")
    features = [torch.ones(len(own), 4) for own in labels]
    features[1][2, 3] = torch.nan
    expected = f"embeddings must be finite, but row {len(labels[0]) + 2} holds NaN or infinity."
    assert gloo(2).run(refusal, name, features, labels) == [expected, expected]


@pytest.mark.parametrize("name", EVERY)
def test_bool_labels_are_refused(name: str) -> None:
    labels = torch.tensor([True, False, True])
    assert refusal(name, torch.eye(3, 5 if name in CLASSIFICATION else 4), labels) == (
        "labels must be integers, got torch.bool."
    )


def bounds(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    return losses.MetricCrossEntropyLoss().diagnostics(logits, labels)


def test_bounds_of_the_global_batch(gloo: Gloo) -> None:
    _, labels = shares(2, "asymmetric")
    g = torch.Generator().manual_seed(2)
    logits = [torch.randn(len(k), 5, generator=g) for k in labels]
    expected = bounds(torch.cat(logits), torch.cat(labels))
    for result in gloo(2).run(bounds, logits, labels):
        torch.testing.assert_close(result, expected)
