"""Every loss by name, and batches of which each rank holds a part of its own."""

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from pytorch_metric_learning import losses as peers
from pytorch_metric_learning import miners, reducers, regularizers
from torch import Tensor

from dml_lightning import distributed, losses
from dml_lightning.losses.plain import classification_loss, embedding_loss
from dml_lightning.types import CLUTTER

EMBEDDING: dict[str, Callable[[], losses.EmbeddingLoss]] = {
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
    "plain": lambda: embedding_loss(Spread()),
}
TRIPLETS = functools.partial(peers.TripletMarginLoss, 0.3)


class Squares(reducers.MultipleReducers):  # type: ignore[misc]  # the library has no types
    """Adds the squares of the terms."""

    def sub_loss_reduction(self, sub_losses: Tensor, embeddings: Any = None, labels: Any = None) -> Tensor:
        return sub_losses.square().sum()


def part_of(positive: reducers.BaseReducer, default: reducers.BaseReducer | None = None) -> reducers.MultipleReducers:
    """Reducers of the positive pairs' term alone, with a default for the other."""
    return reducers.MultipleReducers({"pos_loss": positive}, default)


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
    "contrastive-part": lambda: (peers.ContrastiveLoss(reducer=part_of(reducers.AvgNonZeroReducer())),),
    "contrastive-rest": lambda: (
        peers.ContrastiveLoss(reducer=part_of(reducers.MeanReducer(), reducers.AvgNonZeroReducer())),
    ),
    "contrastive-other": lambda: (
        peers.ContrastiveLoss(reducer=part_of(reducers.MeanReducer(), reducers.ThresholdReducer(low=0.3))),
    ),
    "contrastive-squares": lambda: (peers.ContrastiveLoss(reducer=Squares({})),),
    "multi-similarity": lambda: (peers.MultiSimilarityLoss(),),
    "circle": lambda: (peers.CircleLoss(),),
    "supcon": lambda: (peers.SupConLoss(),),
    "nt-xent": lambda: (peers.NTXentLoss(),),
    "lifted": lambda: (peers.LiftedStructureLoss(),),
    "proxy-anchor": lambda: (peers.ProxyAnchorLoss(5, 4),),
    "arcface": lambda: (peers.ArcFaceLoss(5, 4),),
    "sum": lambda: (peers.MultipleLosses([TRIPLETS(), peers.ProxyAnchorLoss(5, 4)], weights=[1, 0.5]),),
    "hard-miner": lambda: (TRIPLETS(), miners.BatchHardMiner()),
    "easy-hard-miner": lambda: (TRIPLETS(), miners.BatchEasyHardMiner()),
    "triplet-miner": lambda: (TRIPLETS(), miners.TripletMarginMiner(0.3, "semihard")),
    "similarity-miner": lambda: (peers.MultiSimilarityLoss(), miners.MultiSimilarityMiner()),
    "pair-miner": lambda: (peers.ContrastiveLoss(), miners.PairMarginMiner()),
    "pairs-for-triplets": lambda: (TRIPLETS(), miners.PairMarginMiner()),
    "triplets-for-pairs": lambda: (peers.CircleLoss(), miners.BatchHardMiner()),
    "uniform-miner": lambda: (peers.SupConLoss(), miners.UniformHistogramMiner(5)),
}


class Spread(torch.nn.Module):
    """Mean squared distance of a row to the mean of its class, which mixes crops of all ranks."""

    def forward(self, rows: Tensor, labels: Tensor) -> Tensor:
        same = (labels[:, None] == labels).to(rows.dtype)
        return (rows - same @ rows / same.sum(dim=1, keepdim=True)).square().sum(dim=1).mean()


def pml_loss(make: Callable[[], tuple[Any, ...]]) -> losses.PMLLoss:
    return losses.PMLLoss(*make())


EMBEDDING |= {f"pml-{name}": functools.partial(pml_loss, make) for name, make in PML.items()}
CLASSIFICATION = {
    "cross-entropy": losses.CrossEntropyLoss,
    "weighted": lambda: losses.CrossEntropyLoss(0.1, [1.0, 2.0, 0.2, 5.0, 1.0]),
    "binary": losses.BinaryCrossEntropyLoss,
    "focal": lambda: losses.FocalLoss(class_weights=[1.0, 2.0, 0.2, 5.0, 1.0]),
    "metric": losses.MetricCrossEntropyLoss,
    "plain-logits": lambda: classification_loss(torch.nn.CrossEntropyLoss(torch.arange(1.0, 6.0))),
}
EVERY = EMBEDDING | CLASSIFICATION


def step(name: str, features: Tensor, labels: Tensor, steps: int = 2) -> tuple[Tensor, dict[str, int], Tensor]:
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


def shares(world: int, plan: str) -> tuple[list[Tensor], list[Tensor]]:
    """Unequal and asymmetric: classes that only some ranks hold, a rank without positives."""
    labels = {
        "asymmetric": [[0, 0, 0, 1, 1, 2, 2], [0, 1, 3, 4], [3, 3, 3, 0, 2], [4, 4, 4, 4, 4, 1]],
        "p-by-k": [[0, 0, 1, 1], [2, 2, 3, 3], [0, 0, 4, 4], [1, 1, 2, 2]],
        "no-triplet-here": [[2, 2, 2, 2], [1, 1, 0, 3], [4], [0, 1]],
        "shuffled": [[3, 0, 1, 1, 4, 2], [0, 0, 2, 3, 1, 4], [2, 4, 4, 0], [1, 3, 2, 2, 0]],
        "none-anywhere": [[1, 1], [1, 1, 1], [1], [1]],
        "one-each": [[0], [0], [1], [1]],
        "empty-rank": [[0, 0, 1, 2], [], [1, 2, 2], []],
        "clutter-on-one-rank": [[0, 0, 0, 1, 1, 2], [CLUTTER] * 5, [3, 3, 0, 2], [1, 1, 4, 4, 4]],
        "clutter-unequal": [[0, 0, CLUTTER, 1, 1], [CLUTTER, 0, 3, 3, 1], [CLUTTER], [CLUTTER, 2, 2, 3, CLUTTER]],
        "clutter-alone": [[CLUTTER] * 3, [CLUTTER, 1, 2], [CLUTTER], []],
    }[plan][:world]
    g = torch.Generator().manual_seed(1)
    features = [torch.randn(len(k), 3, generator=g, dtype=torch.float64) for k in labels]
    return features, [torch.tensor(k, dtype=torch.long) for k in labels]
