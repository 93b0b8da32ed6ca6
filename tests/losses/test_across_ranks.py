"""What W ranks compute must be what one process computes: value, direction and norm of the gradient."""

import functools

import pytest
import torch
import torch.distributed as dist
from pytorch_metric_learning import losses as peers
from pytorch_metric_learning import miners, reducers, regularizers

from dml_lightning import distributed, losses
from dml_lightning.losses import pml_share
from dml_lightning.losses.functional import pair_masks

EMBEDDING = {
    "all": lambda: losses.TripletLoss(0.6),
    "all-mean": lambda: losses.TripletLoss(0.6, reduction="mean"),
    "all-sum": lambda: losses.TripletLoss(0.6, reduction="sum"),
    "squared": lambda: losses.TripletLoss(0.6, distance="squared_euclidean"),
    "semihard": lambda: losses.TripletLoss(0.6, "semihard"),
    "facenet": lambda: losses.TripletLoss(0.6, "facenet"),
    "hard": lambda: losses.TripletLoss(0.6, "hard"),
    "easy-positive": lambda: losses.TripletLoss(0.6, "easy_positive", reduction="mean"),
    "soft": lambda: losses.TripletLoss(0.6, soft=True),
    "soft-hard": lambda: losses.TripletLoss(0.6, "hard", soft=True),
    "memory": lambda: losses.TripletLoss(0.6, memory_size=20),
    "contrastive": lambda: losses.ContrastiveLoss(1.0),
    "n-pair": losses.NPairLoss,
    "multi-similarity": losses.MultiSimilarityLoss,
}
TRIPLETS = functools.partial(peers.TripletMarginLoss, 0.3)
PML = {
    "triplets": lambda: (TRIPLETS(),),
    "random": lambda: (TRIPLETS(triplets_per_anchor=2),),
    "smooth": lambda: (TRIPLETS(smooth_loss=True),),
    "swap": lambda: (TRIPLETS(swap=True),),
    "mean": lambda: (TRIPLETS(reducer=reducers.MeanReducer()),),
    "weighted": lambda: (TRIPLETS(reducer=reducers.ClassWeightedReducer(torch.arange(1.0, 6.0))),),
    "regularised": lambda: (TRIPLETS(embedding_regularizer=regularizers.LpRegularizer()),),
    "contrastive": lambda: (peers.ContrastiveLoss(),),
    "contrastive-mean": lambda: (peers.ContrastiveLoss(reducer=reducers.MeanReducer()),),
    "multi-similarity": lambda: (peers.MultiSimilarityLoss(),),
    "circle": lambda: (peers.CircleLoss(),),
    "supcon": lambda: (peers.SupConLoss(),),
    "nt-xent": lambda: (peers.NTXentLoss(),),
    "lifted": lambda: (peers.LiftedStructureLoss(),),
    "proxy-anchor": lambda: (peers.ProxyAnchorLoss(5, 4),),
    "arcface": lambda: (peers.ArcFaceLoss(5, 4),),
    "hard-miner": lambda: (TRIPLETS(), miners.BatchHardMiner()),
    "easy-hard-miner": lambda: (TRIPLETS(), miners.BatchEasyHardMiner()),
    "triplet-miner": lambda: (TRIPLETS(), miners.TripletMarginMiner(0.3, "semihard")),
    "similarity-miner": lambda: (peers.MultiSimilarityLoss(), miners.MultiSimilarityMiner()),
    "pair-miner": lambda: (peers.ContrastiveLoss(), miners.PairMarginMiner()),
    "pairs-for-triplets": lambda: (TRIPLETS(), miners.PairMarginMiner()),
    "triplets-for-pairs": lambda: (peers.CircleLoss(), miners.BatchHardMiner()),
    "uniform-miner": lambda: (peers.SupConLoss(), miners.UniformHistogramMiner(5)),
}
EMBEDDING |= {f"pml-{name}": lambda make=make: losses.PMLLoss(*make()) for name, make in PML.items()}
CLASSIFICATION = {
    "cross-entropy": losses.CrossEntropyLoss,
    "weighted": lambda: losses.CrossEntropyLoss(0.1, [1.0, 2.0, 0.2, 5.0, 1.0]),
    "binary": losses.BinaryCrossEntropyLoss,
    "focal": lambda: losses.FocalLoss(class_weights=[1.0, 2.0, 0.2, 5.0, 1.0]),
    "metric": losses.MetricCrossEntropyLoss,
}
EVERY = EMBEDDING | CLASSIFICATION


def step(name, features, labels, steps=2):
    """Loss, counts and averaged gradients of a linear encoder and of the loss's parameters."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    try:
        loss = EVERY[name]()
        encoder = torch.nn.Linear(3, 5 if name in CLASSIFICATION else 4)
    finally:
        torch.set_default_dtype(torch.float32)
    for _ in range(steps):  # a memory is filled by the first
        loss.zero_grad()
        encoder.zero_grad()
        out = loss(encoder(features), labels)
        out.loss.backward()
    gradients = [p.grad for p in [*encoder.parameters(), *loss.parameters()]]
    for gradient in gradients:  # as DistributedDataParallel does
        if distributed.world_size() > 1:
            dist.all_reduce(gradient)
            gradient /= distributed.world_size()
    counts = {key: int(value) for key, value in out.counts.items()}
    return out.loss.detach(), counts, torch.cat([g.flatten() for g in gradients])


def shares(world, plan):
    """Unequal and asymmetric: classes that only some ranks hold, a rank without positives."""
    labels = {
        "asymmetric": [[0, 0, 0, 1, 1, 2, 2], [0, 1, 3, 4], [3, 3, 3, 0, 2], [4, 4, 4, 4, 4, 1]],
        "p-by-k": [[0, 0, 1, 1], [2, 2, 3, 3], [0, 0, 4, 4], [1, 1, 2, 2]],
        "no-triplet-here": [[2, 2, 2, 2], [1, 1, 0, 3], [4], [0, 1]],
        "shuffled": [[3, 0, 1, 1, 4, 2], [0, 0, 2, 3, 1, 4], [2, 4, 4, 0], [1, 3, 2, 2, 0]],
        "none-anywhere": [[1, 1], [1, 1, 1], [1], [1]],
        "one-each": [[0], [0], [1], [1]],
        "empty-rank": [[0, 0, 1, 2], [], [1, 2, 2], []],
    }[plan][:world]
    g = torch.Generator().manual_seed(1)
    features = [torch.randn(len(k), 3, generator=g, dtype=torch.float64) for k in labels]
    return features, [torch.tensor(k, dtype=torch.long) for k in labels]


PLANS = ["asymmetric", "p-by-k", "shuffled", "no-triplet-here", "none-anywhere", "one-each", "empty-rank"]


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("name", EVERY)
def test_ranks_equal_one_process(gloo, name, world, plan):
    features, labels = shares(world, plan)
    value, counts, gradient = step(name, torch.cat(features), torch.cat(labels))
    for found, found_counts, found_gradient in gloo(world).run(step, name, features, labels):
        torch.testing.assert_close(found, value, rtol=1e-12, atol=1e-14)
        assert found_counts == counts
        torch.testing.assert_close(found_gradient, gradient, rtol=1e-9, atol=1e-12)
        if gradient.norm() > 1e-6:
            cosine = torch.cosine_similarity(found_gradient, gradient, dim=0)
            assert cosine.item() == pytest.approx(1, abs=1e-12)
            assert (found_gradient.norm() / gradient.norm()).item() == pytest.approx(1, abs=1e-9)
    if plan == "asymmetric":
        assert gradient.norm() > 1e-3


class Count(torch.nn.Module):
    """How many anchors a loss of the library has been given."""

    def __init__(self, distance):
        super().__init__()
        self.distance, self.rows = distance, []

    def forward(self, x, y):
        self.rows.append((len(x), len(y)))
        return self.distance(x, y)

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.distance, name)


def rows_compared(name, features, labels):
    adapter = EVERY[name]()
    adapter.loss.distance = Count(adapter.loss.distance)
    adapter(features, labels)
    return adapter.loss.distance.rows


@pytest.mark.parametrize(
    ("name", "shared"),
    [
        ("triplets", True),
        ("random", True),
        ("contrastive", True),
        ("similarity-miner", True),
        ("swap", False),
        ("weighted", False),
        ("regularised", False),
        ("nt-xent", False),
    ],
)
def test_a_rank_compares_its_own_anchors_where_the_loss_allows_it(gloo, name, shared):
    features, labels = shares(4, "asymmetric")
    every = sum(map(len, labels))
    for own, rows in zip(labels, gloo(4).run(rows_compared, f"pml-{name}", features, labels), strict=True):
        assert rows == [(len(own) if shared else every, every)]


@pytest.mark.parametrize("cells", [1, 200, 10**6])
def test_triplets_in_blocks(monkeypatch, cells):
    monkeypatch.setattr(pml_share, "TRIPLET_CELLS", cells)
    labels = torch.tensor([0, 1, 0, 2, 1, 1])
    positive, negative = pair_masks(labels[1:4], labels, 1)
    expected = [
        (a, p, n)
        for a in range(3)
        for p in range(6)
        for n in range(6)
        if p != a + 1 and labels[a + 1] == labels[p] and labels[a + 1] != labels[n]
    ]
    found = torch.stack(pml_share.all_triplets(positive, negative), 1)
    assert [tuple(row) for row in found.tolist()] == expected


def bounds(logits, labels):
    return losses.MetricCrossEntropyLoss().diagnostics(logits, labels)


def test_bounds_of_the_global_batch(gloo):
    _, labels = shares(2, "asymmetric")
    g = torch.Generator().manual_seed(2)
    logits = [torch.randn(len(k), 5, generator=g) for k in labels]
    expected = bounds(torch.cat(logits), torch.cat(labels))
    for found in gloo(2).run(bounds, logits, labels):
        torch.testing.assert_close(found, expected)
