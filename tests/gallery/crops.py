"""Embeddings of classes around the axes, three of them known."""

import numpy as np
import torch
from numpy.typing import NDArray

from dml_lightning.gallery.answer import Answer
from dml_lightning.types import Embeddings

DIM = 16
NAMES = ["coot", "gadwall", "mallard"]
CENTRES = 8.0 * np.eye(DIM)
DIGEST = "0123456789abcdef"


def crops(centre: int, size: int, seed: int) -> NDArray[np.float32]:
    """Embeddings of one class."""
    noise = np.random.default_rng([centre, seed]).normal(0, 1, (size, DIM))
    return (CENTRES[centre] + noise).astype(np.float32)


def embeddings(centres: list[int], size: int, seed: int, first: int = 0) -> Embeddings:
    """`size` crops of each class, numbered from `first`, with logits that prefer the class after the true one."""
    labels = np.repeat(np.array(centres, np.int64), size)
    vectors = np.concatenate([crops(c, size, seed) for c in centres]) if centres else np.empty((0, DIM))
    logits = np.eye(3)[(labels + 1) % 3]
    return Embeddings(
        torch.from_numpy(vectors.astype(np.float32)),
        torch.from_numpy(labels),
        torch.arange(first, first + len(labels)),
        torch.from_numpy(logits).float(),
        torch.nn.functional.normalize(torch.from_numpy(vectors.astype(np.float32))) ** 3,
    )


def same(first: Answer, second: Answer) -> bool:
    """Whether two answers are equal to the last bit."""
    return all(
        first_part == second_part
        if isinstance(first_part, list)
        else all(np.array_equal(first_part[rule], second_part[rule]) for rule in first_part)
        if isinstance(first_part, dict)
        else np.array_equal(first_part, second_part, equal_nan=True)
        for first_part, second_part in zip(first, second, strict=True)
    )
