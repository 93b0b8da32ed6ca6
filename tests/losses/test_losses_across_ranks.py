"""What W ranks compute must be what one process computes, direction and norm."""

import pytest
import torch
import torch.distributed as dist
from pytorch_metric_learning import losses as peers
from pytorch_metric_learning import miners

from dml_lightning import distributed, losses

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
    "pml-mined": lambda: losses.PMLLoss(peers.TripletMarginLoss(0.3), miners.BatchHardMiner()),
    "pml-random": lambda: losses.PMLLoss(peers.TripletMarginLoss(triplets_per_anchor=2)),
    "pml-proxies": lambda: losses.PMLLoss(peers.ProxyAnchorLoss(5, 4)),
}
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
        "none-anywhere": [[1, 1], [1, 1, 1], [1], [1]],
    }[plan][:world]
    g = torch.Generator().manual_seed(1)
    features = [torch.randn(len(k), 3, generator=g, dtype=torch.float64) for k in labels]
    return features, [torch.tensor(k) for k in labels]


@pytest.mark.parametrize("plan", ["asymmetric", "p-by-k", "no-triplet-here", "none-anywhere"])
@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("name", EVERY)
def test_ranks_equal_one_process(gloo, name, world, plan):
    features, labels = shares(world, plan)
    value, counts, gradient = step(name, torch.cat(features), torch.cat(labels))
    for found, found_counts, found_gradient in gloo(world).run(step, name, features, labels):
        torch.testing.assert_close(found, value, rtol=1e-12, atol=1e-14)
        assert found_counts == counts
        torch.testing.assert_close(found_gradient, gradient, rtol=1e-9, atol=1e-13)
    if plan == "asymmetric":
        assert gradient.norm() > 1e-3


def bounds(logits, labels):
    return losses.MetricCrossEntropyLoss().diagnostics(logits, labels)


def test_bounds_of_the_global_batch(gloo):
    _, labels = shares(2, "asymmetric")
    g = torch.Generator().manual_seed(2)
    logits = [torch.randn(len(k), 5, generator=g) for k in labels]
    expected = bounds(torch.cat(logits), torch.cat(labels))
    for found in gloo(2).run(bounds, logits, labels):
        torch.testing.assert_close(found, expected)
