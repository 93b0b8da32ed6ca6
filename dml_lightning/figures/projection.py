"""Embeddings in the plane, and small pictures of their crops in one image."""

import base64
import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.manifold import TSNE

from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.types import Role

Method = Literal["tsne", "pca"]
MOST_POINTS = 1200  # of one projection
FEWEST_OF_CLASS = 12  # that are kept however small its share, if there are as many
FEWEST_FOR_TSNE = 30
SPRITE_COLUMNS = 40
SPRITE_SIDE = 32  # px of a crop, at most
CROP_SIDE = 128  # px of one that stands alone, at most
SHOWN: tuple[Role, ...] = ("known", "novel", "ood")


@dataclass(frozen=True, eq=False)
class Crops:
    """The test crops that a projection shows."""

    roles: NDArray[np.str_]  # (N,)
    labels: NDArray[np.int64]  # (N,)
    index: NDArray[np.int64]  # (N,)
    groups: NDArray[np.str_]  # (N,)
    thumbnails: NDArray[np.uint8] | None  # (N, S, S)

    def same_as(self, other: "Crops") -> bool:
        """Whether both are the same crops, so that a point of one stands for a point of the other."""
        pairs = ((self.index, other.index), (self.labels, other.labels), (self.roles, other.roles))
        return all(np.array_equal(mine, theirs) for mine, theirs in pairs)


def chosen_crops(evidence: Evidence, most: int = MOST_POINTS) -> tuple[Crops, NDArray[np.float64]]:
    """Some of the test crops with their vectors (N, D): drawn with a fixed seed, small classes kept."""
    sets = [evidence.sets[name] for name in SHOWN]
    crops = Crops(
        roles=np.repeat(SHOWN, [len(part) for part in sets]),
        labels=np.concatenate([part.labels.numpy() for part in sets]),
        index=np.concatenate([part.index.numpy() for part in sets]),
        groups=np.concatenate([evidence.groups[name] for name in SHOWN]),
        thumbnails=np.concatenate([evidence.thumbnails[name] for name in SHOWN]) if evidence.thumbnails else None,
    )
    vectors = np.concatenate([part.vectors.double().numpy() for part in sets])
    rows = _drawn(crops.labels, most)
    images = crops.thumbnails
    kept = Crops(
        crops.roles[rows],
        crops.labels[rows],
        crops.index[rows],
        crops.groups[rows],
        None if images is None else images[rows],
    )
    return kept, vectors[rows]


def _drawn(labels: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """At most `most` rows, ascending: of each class its share, or `FEWEST_OF_CLASS` if that is more."""
    rng = np.random.default_rng(0)
    order = rng.permutation(len(labels))
    share = most / max(most, len(labels))
    drawn = [np.empty(0, np.int64)]
    for label in np.unique(labels):
        own = order[labels[order] == label]
        drawn.append(own[: max(FEWEST_OF_CLASS, round(share * len(own)))])
    return np.sort(rng.permutation(np.concatenate(drawn))[:most])


def project(vectors: NDArray[np.float64], method: Method = "tsne") -> NDArray[np.float64]:
    """Coordinates (N, 2) that are the same on every call; PCA for fewer than `FEWEST_FOR_TSNE` crops.

    t-SNE shows who is whose neighbour; distances between groups and their sizes mean nothing. PCA shows the two
    directions of largest variance.
    """
    flat = principal(vectors, 50)  # (N, 50) at most
    plane = np.zeros((len(vectors), 2))
    plane[:, : min(2, flat.shape[1])] = flat[:, :2]
    if method == "pca" or len(vectors) < FEWEST_FOR_TSNE:
        return plane
    start = 1e-4 * plane / max(float(plane[:, 0].std()), 1e-12)
    tsne = TSNE(perplexity=min(30.0, (len(vectors) - 1) / 3), init=start, random_state=0)
    return np.asarray(tsne.fit_transform(flat), dtype=np.float64)


def principal(vectors: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    """Coordinates (N, K) along the directions of largest variance, at most `most`; signs as scikit-learn has them.

    Unlike scikit-learn's it takes no vectors, and equal ones.
    """
    if not len(vectors):
        return np.zeros((0, 2))
    _, _, directions = np.linalg.svd(vectors - vectors.mean(0), full_matrices=False)
    directions = directions[:most]
    largest = np.abs(directions).argmax(1)
    signs = np.sign(directions[np.arange(len(directions)), largest])
    return np.asarray((vectors - vectors.mean(0)) @ (directions * signs[:, None]).T)


def sprite(images: NDArray[np.uint8]) -> tuple[str, int]:
    """Crops (N, S, S) in rows of `SPRITE_COLUMNS` as the data address of one grey PNG, and the px of a crop in it."""
    side = min(SPRITE_SIDE, images.shape[1])
    rows = -(-len(images) // SPRITE_COLUMNS)
    sheet = np.zeros((rows * side, SPRITE_COLUMNS * side), np.uint8)
    for number, image in enumerate(images):
        row, column = divmod(number, SPRITE_COLUMNS)
        sheet[row * side : (row + 1) * side, column * side : (column + 1) * side] = _small(image, side)
    return png(sheet), side


def _small(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """A crop (S, S) as (side, side)."""
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BOX))


def crop_png(image: NDArray[np.uint8]) -> str:
    """A crop (S, S) as a data address, with no more pixels than a page shows."""
    return png(_small(image, min(CROP_SIDE, len(image))))


def png(image: NDArray[np.uint8]) -> str:
    """A grey image (H, W) as a data address."""
    out = io.BytesIO()
    Image.fromarray(image).save(out, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode("ascii")
