"""Crops of three classes, a linear encoder, and a quiet trainer."""

from typing import Any

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from dml_lightning.models import EmbeddingModule, Encoder
from dml_lightning.types import EVALUATION_SETS, Batch


class Blobs(Dataset[Batch]):
    """Crops of three classes, each a bright pixel at its own place in noise."""

    def __init__(self, count: int, start: int = 0) -> None:
        generator = torch.Generator().manual_seed(start)
        self.labels = torch.arange(count) % 3
        self.images = 0.3 * torch.randn(count, 1, 8, 8, generator=generator)
        self.images[torch.arange(count), 0, 2 * self.labels, 2] += 4
        self.index = torch.arange(count) + start

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> Batch:
        return Batch(self.images[i], self.labels[i], self.index[i], torch.empty(0))


class Flat(Encoder):
    """A linear encoder, quick and without batch norm."""

    def __init__(self, normalize: bool = True) -> None:
        nn.Module.__init__(self)
        self.embedding_dim, self.normalize, self.freeze_batch_norm = 4, normalize, False
        self.backbone, self.head = nn.Flatten(), nn.Sequential(nn.Linear(64, 4))


def optimizer(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.5)


def make(arm: type[EmbeddingModule], **arguments: Any) -> EmbeddingModule:
    torch.manual_seed(0)
    parts = {"encoder": Flat(arguments.pop("normalize", True)), "optimizer": optimizer, "num_classes": 3}
    return arm(**{**parts, **arguments})


def trainer(tmp_path: Any, **arguments: Any) -> L.Trainer:
    settings: dict[str, Any] = {"max_epochs": 5, "num_sanity_val_steps": 0}
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    silent = {"enable_model_summary": False, "accelerator": "cpu", "default_root_dir": tmp_path}
    return L.Trainer(**{**settings, **quiet, **silent, **arguments})


def loaders() -> list[DataLoader[Batch]]:
    sizes = {"reference": 30, "known": 21, "novel": 6, "ood": 9, "clutter": 6}
    return [DataLoader(Blobs(sizes[n], 1000 * i), batch_size=8) for i, n in enumerate(EVALUATION_SETS)]
