import copy
from collections.abc import Callable

import pytest
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LightningArgumentParser
from pytorch_metric_learning import losses, miners
from torch import Tensor
from torch.nn.functional import normalize

from dml_lightning.losses import EmbeddingLoss, PMLLoss
from dml_lightning.types import CLUTTER


def batch(n: int = 24, dim: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(n, dim, generator=g), dim=1), torch.arange(n) % 4


def test_it_is_the_library_s_value_and_gradient() -> None:
    x, labels = batch()
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    loss, miner = losses.TripletMarginLoss(0.2), miners.BatchHardMiner()
    result, expected = PMLLoss(loss, miner)(a, labels).loss, loss(b, labels, miner(b, labels))
    torch.testing.assert_close(result, expected)
    result.backward()
    expected.backward()
    torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize(
    "proxies",
    [
        lambda: losses.ProxyAnchorLoss(4, 6),
        lambda: losses.ArcFaceLoss(4, 6),
        lambda: losses.NormalizedSoftmaxLoss(4, 6),
    ],
)
def test_proxies_learn_at_their_own_rate_and_are_saved(proxies: Callable[[], torch.nn.Module]) -> None:
    x, labels = batch()
    loss = PMLLoss(proxies(), proxy_lr=0.5)
    (group,) = loss.parameter_groups()
    assert group["lr"] == 0.5
    before = [p.detach().clone() for p in group["params"]]
    optimizer = torch.optim.SGD([*loss.parameter_groups()], lr=1e-9)
    loss(x, labels).loss.backward()
    optimizer.step()
    assert all(not torch.equal(p, old) for p, old in zip(group["params"], before, strict=True))
    other = PMLLoss(proxies(), proxy_lr=0.5)
    other.load_state_dict(loss.state_dict())
    torch.testing.assert_close(other(x, labels).loss, loss(x, labels).loss)


def test_without_an_own_rate_the_group_has_none() -> None:
    (group,) = PMLLoss(losses.ProxyAnchorLoss(4, 6)).parameter_groups()
    assert "lr" not in group
    assert PMLLoss(losses.ContrastiveLoss()).parameter_groups() == []


def test_random_miners_follow_the_seed_the_count_and_the_checkpoint() -> None:
    x, labels = batch()

    def make(seed: int = 0) -> PMLLoss:
        triplets = losses.TripletMarginLoss(triplets_per_anchor=1)
        return PMLLoss(triplets, seed=seed)

    one, other = make(), make()
    state = torch.random.get_rng_state()
    values = [one(x, labels).loss.item() for _ in range(4)]
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(77)
    assert [other(x, labels).loss.item() for _ in range(2)] == values[:2]
    resumed = make()
    resumed.load_state_dict(copy.deepcopy(other.state_dict()))
    assert [resumed(x, labels).loss.item() for _ in range(2)] == values[2:]
    assert len(set(values)) > 1
    assert make(1)(x, labels).loss.item() not in values
    resumed.eval()
    assert resumed(x, labels).loss == resumed(x, labels).loss


class Module(LightningModule):
    def __init__(self, loss: EmbeddingLoss | None = None) -> None:
        super().__init__()
        self.loss = loss


def test_a_config_builds_it() -> None:
    parser = LightningArgumentParser(exit_on_error=False)
    parser.add_lightning_class_args(Module, "model", subclass_mode=True)
    loss = {
        "class_path": "dml_lightning.losses.PMLLoss",
        "init_args": {
            "loss": {
                "class_path": "pytorch_metric_learning.losses.ProxyAnchorLoss",
                "init_args": {"num_classes": 4, "embedding_size": 6, "alpha": 16},
            },
            "miner": {"class_path": "pytorch_metric_learning.miners.MultiSimilarityMiner"},
            "proxy_lr": 0.01,
        },
    }
    model = {"class_path": f"{__name__}.Module", "init_args": {"loss": loss}}
    built = parser.instantiate_classes(parser.parse_object({"model": model})).model.loss
    del loss["init_args"]["loss"]["init_args"]["num_classes"]
    sizeless = parser.instantiate_classes(parser.parse_object({"model": model})).model.loss
    sizeless.set_sizes(num_classes=5, embedding_dim=6)
    assert (sizeless.loss.proxies.shape, sizeless.loss.alpha) == ((5, 6), 16)
    assert isinstance(built.loss, losses.ProxyAnchorLoss)
    assert built.loss.alpha == 16
    assert isinstance(built.miner, miners.MultiSimilarityMiner)
    assert built(*batch()).loss.isfinite()


def test_sizes_come_from_whom_it_is_given_to() -> None:
    x, labels = batch()
    loss = PMLLoss(losses.ProxyAnchorLoss)
    with pytest.raises(ValueError, match="no sizes yet"):
        loss(x, labels)
    loss.set_sizes(4, 6)
    made = loss.loss
    assert made.proxies.shape == (4, 6)
    assert loss(x, labels).loss == made(x, labels)
    loss.set_sizes(5, 7)  # it has its sizes
    assert loss.loss is made
    loss.check_sizes(4, 6)
    with pytest.raises(ValueError, match="num_classes is 4, but there are 5"):
        loss.check_sizes(5, 6)


def test_only_a_loss_without_proxies_compares_crops() -> None:
    assert PMLLoss(losses.ContrastiveLoss()).compares_crops
    assert not PMLLoss(losses.ArcFaceLoss(4, 6)).compares_crops


def test_a_sum_of_losses_is_the_library_s() -> None:
    x, labels = batch()
    both = losses.MultipleLosses([losses.ContrastiveLoss(), losses.CircleLoss()], weights=[1, 0.5])
    assert PMLLoss(both)(x, labels).loss == both(x, labels)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="loss must be one of pytorch-metric-learning's, got Linear"):
        PMLLoss(torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match="miner must be one of"):
        PMLLoss(losses.ContrastiveLoss(), losses.ContrastiveLoss())
    for rate in (0.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="proxy_lr"):
            PMLLoss(losses.ContrastiveLoss(), proxy_lr=rate)


MINERS: list[Callable[[], miners.BaseMiner] | None] = [
    None,
    miners.BatchHardMiner,
    miners.BatchEasyHardMiner,
    lambda: miners.BatchEasyHardMiner("all", "hard"),
    miners.MultiSimilarityMiner,
    miners.PairMarginMiner,
    lambda: miners.TripletMarginMiner(0.3, "semihard"),
]


def slow_tuples(x: Tensor, labels: Tensor, miner: miners.BaseMiner | None) -> tuple[list[list[int]], list[list[int]]]:
    """Anchor-positive and anchor-negative pairs, or triplets and nothing, with anchors numbered among the known.

    For the miner every crop of clutter is a class of its own, so that none has a positive.
    """
    known = [row for row, label in enumerate(labels.tolist()) if label != CLUTTER]
    rows = range(len(labels))
    if miner is None:
        positive = [[a, p] for a in known for p in rows if p != a and labels[p] == labels[a]]
        parts = [positive, [[a, n] for a in known for n in rows if labels[n] != labels[a]]]
    else:
        alone = torch.where(labels == CLUTTER, 100 + torch.arange(len(labels)), labels)
        mined = miner(x, alone)
        columns = [mined] if len(mined) == 3 else [mined[:2], mined[2:]]
        parts = [torch.stack(each, 1).tolist() for each in columns]
    numbered = [[[known.index(a), *rest] for a, *rest in part if a in known] for part in parts]
    return numbered[0], numbered[1] if len(numbered) == 2 else []


@pytest.mark.parametrize(
    "make",
    [
        lambda: losses.TripletMarginLoss(0.3),
        losses.ContrastiveLoss,
        losses.MultiSimilarityLoss,
        losses.CircleLoss,
        losses.SupConLoss,
    ],
)
@pytest.mark.parametrize("make_miner", MINERS)
def test_clutter_is_a_negative_only(
    make: Callable[[], losses.BaseMetricLossFunction], make_miner: Callable[[], miners.BaseMiner] | None
) -> None:
    """As the library has it for the known crops as queries and all crops as references, pair by pair."""
    x, labels = batch(17, seed=3)
    labels[[0, 5, 6, 12, 16]] = CLUTTER
    miner = None if make_miner is None else make_miner()
    a, b = x.double().requires_grad_(), x.double().requires_grad_()
    result = PMLLoss(make(), miner)(a, labels).loss
    known, loss = labels != CLUTTER, make()
    first, second = (torch.tensor(part) for part in slow_tuples(b.detach(), labels, miner))
    if miner is None and isinstance(loss, losses.TripletMarginLoss):
        first = torch.tensor([[a, p, n] for a, p in first.tolist() for own, n in second.tolist() if own == a])
    indices = first.unbind(1) if first.shape[1] == 3 else (*first.unbind(1), *second.unbind(1))
    expected = loss(b[known], labels[known], indices, ref_emb=b, ref_labels=labels)
    torch.testing.assert_close(result, expected)
    result.backward()
    expected.backward()
    torch.testing.assert_close(a.grad, b.grad)
    assert a.grad is not None
    assert a.grad[labels == CLUTTER].norm() > 0


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: PMLLoss(losses.ProxyAnchorLoss(4, 6)), "ProxyAnchorLoss"),
        (lambda: PMLLoss(losses.ArcFaceLoss(4, 6)), "ArcFaceLoss"),
        (lambda: PMLLoss(losses.NTXentLoss()), "NTXentLoss"),
        (lambda: PMLLoss(losses.TripletMarginLoss(swap=True)), "TripletMarginLoss"),
        (lambda: PMLLoss(losses.MultipleLosses([losses.ContrastiveLoss()])), "MultipleLosses"),
        (
            lambda: PMLLoss(losses.ContrastiveLoss(), miners.DistanceWeightedMiner()),
            "ContrastiveLoss with DistanceWeightedMiner",
        ),
    ],
)
def test_what_has_no_place_for_clutter_refuses_it_by_name(make: Callable[[], PMLLoss], name: str) -> None:
    x, labels = batch()
    labels[:3] = CLUTTER
    message = rf"^pytorch-metric-learning's {name} has no place for clutter \(data.ood_train\): take a loss and a miner"
    with pytest.raises(ValueError, match=message):
        make()(x, labels)
    with pytest.raises(ValueError, match=message):
        make().check_clutter()


def test_half_precision_computes_in_float32() -> None:
    x, labels = batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = PMLLoss(losses.MultiSimilarityLoss())(x.bfloat16(), labels).loss
    assert result == losses.MultiSimilarityLoss()(x.bfloat16().float(), labels)
