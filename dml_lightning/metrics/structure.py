"""Structure of an embedding space: density and spectral decay of Roth et al., and a table of class distances.

Roth et al. 2020, Revisiting Training Strategies and Generalization Performance in Deep Metric Learning
(arXiv 2002.08473), section 5, as the authors' code computes it: metrics/dists.py and metrics/rho_spectrum.py of
Confusezius/Revisiting_Deep_Metric_Learning_PyTorch.
"""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from dml_lightning.metrics.distances import NAN, class_distance_table
from dml_lightning.pairs.blocks import Vectors, as_labels, as_vectors


class EmbeddingDensity(NamedTuple):
    """Roth et al.'s embedding density: small means tight classes that lie far apart.

    This is intra over inter in cosine distance, not the inverse of `DistanceSummary.ratio`: all classes have the
    same weight whatever their size, and the distance between two classes is that of their means.
    """

    density: float  # intra / inter, NaN without two classes of two samples
    intra: float  # mean over classes of the mean 1 - cos over the pairs of a class
    inter: float  # mean 1 - cos over pairs of normalised class means
    singletons: int  # number of classes of one sample, which have no pairs and are left out of both


def embedding_density(embeddings: Vectors, labels: Vectors) -> EmbeddingDensity:
    """Mean cosine distance within classes over that between the normalised class means.

    The authors' code gives a class of one sample the largest intra-class distance of the others; here such
    classes are left out and counted.

    Args:
        embeddings: Embeddings (N, D); the value is NaN if one is zero, which has no direction.
        labels: Labels (N,), integers.

    Raises:
        ValueError: If the shapes disagree or an embedding is not finite.

    Example:
        >>> points = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> round(embedding_density(points, torch.tensor([0, 0, 1, 1])).density, 4)
        0.2649
    """
    vectors = as_vectors(embeddings).double()  # (N, D)
    classes, sizes = torch.unique(as_labels(labels, vectors), return_counts=True)
    own = torch.as_tensor(labels, device=vectors.device)
    members = [vectors[own == c] for c in classes[sizes > 1]]
    singletons = int((sizes == 1).sum())
    if len(members) < 2:
        return EmbeddingDensity(NAN, NAN, NAN, singletons)
    within = [_mean_cosine_distance(_unit(rows)) for rows in members]
    means = torch.stack([rows.mean(0) for rows in members])  # (C, D)
    intra, inter = torch.stack(within).mean(), _mean_cosine_distance(_unit(means))
    return EmbeddingDensity(float(intra / inter), float(intra), float(inter), singletons)


def _unit(rows: Tensor) -> Tensor:
    return torch.div(rows, rows.norm(dim=1, keepdim=True))


def _mean_cosine_distance(units: Tensor) -> Tensor:
    """Mean 1 - cos over the pairs of unit vectors (N, D).

    1 - cos is half the squared distance, and the squared distances of all ordered pairs sum to 2N times those
    to the mean: so this is exact in O(N D), also for vectors that nearly agree.
    """
    return (units - units.mean(0)).square().sum() / (len(units) - 1)


def spectral_decay(embeddings: Vectors) -> float:
    """KL(U || S) of the normalised singular values S of the embeddings to the uniform distribution U.

    0 if all directions are used alike, large if few are: Roth et al. 2020, spectral decay rho, with all
    singular values (their `rho_spectrum@1`). Nothing is centred.

    Args:
        embeddings: Embeddings (N, D).

    Returns:
        The divergence in nats; inf if a direction is not used at all, that is if a singular value is below the
        rounding of the embeddings' own dtype; NaN without embeddings or if all are zero.

    Example:
        >>> round(spectral_decay(torch.tensor([[2.0, 0.0], [0.0, 1.0]])), 4)
        0.0589
        >>> spectral_decay(torch.tensor([[1.0, 0.0], [2.0, 0.0]]))
        inf
    """
    vectors = as_vectors(embeddings)
    if not vectors.numel():
        return NAN
    values = torch.linalg.svdvals(vectors.double())  # (min(N, D),), descending
    used = values > torch.finfo(vectors.dtype).eps * values[0]
    if not bool(used.all()):
        return float("inf") if bool(used.any()) else NAN
    share = values / values.sum()
    return float(-(share * len(share)).log().mean())


def class_distances(embeddings: Vectors, labels: Vectors, names: Sequence[str]) -> pd.DataFrame:
    """Mean Euclidean distance of every pair of classes, by name.

    Args:
        embeddings: Embeddings (N, D).
        labels: Labels (N,), positions in `names`.
        names: Names of all classes; those without a sample are left out.

    Returns:
        A symmetric table (C, C); the diagonal is the mean within the class, NaN for a class of one sample.

    Example:
        >>> class_distances(torch.tensor([[0.0], [1.0], [3.0], [4.0]]), torch.tensor([0, 0, 1, 1]), ["swan", "teal"])
               swan  teal
        class
        swan    1.0   3.0
        teal    3.0   1.0
    """
    classes, table = class_distance_table(embeddings, labels)
    present = [names[int(c)] for c in classes]
    return pd.DataFrame(table.cpu().numpy(), index=present, columns=present).rename_axis("class")


def worst_class_gap(table: pd.DataFrame) -> float:
    """Smallest d(A, B) - max(d(A, A), d(B, B)) over class pairs of a table from `class_distances`.

    It is at least the margin if every triplet is satisfied; NaN without two classes of two samples.

    Example:
        >>> worst_class_gap(pd.DataFrame([[1.0, 3.0], [3.0, 2.0]]))
        1.0
    """
    distances = torch.from_numpy(table.to_numpy(copy=True))  # (C, C)
    within = distances.diagonal()
    gaps = distances - torch.maximum(within[:, None], within)  # NaN at singletons
    pairs = gaps[~torch.eye(len(gaps), dtype=torch.bool) & ~gaps.isnan()]
    return float(pairs.min()) if len(pairs) else NAN
