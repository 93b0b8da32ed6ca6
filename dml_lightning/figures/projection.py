"""Embeddings in the plane, and small pictures of their crops in one image."""

import base64
import io
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.manifold import TSNE

from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.types import ROLES

Method = Literal["tsne", "pca"]
MOST_POINTS = 1200  # of one projection
FEWEST_OF_CLASS = 12  # that are kept however small its share, if there are as many
FEWEST_FOR_TSNE = 30
KEPT = 32  # projections, each with its vectors: 20 MB if they have 64 dimensions
SPRITE_COLUMNS = 40
SPRITE_SIDE = 32  # px of a crop, at most
CROP_SIDE = 128  # px of one that stands alone, at most


@dataclass(frozen=True, eq=False)
class ShownCrops:
    """Test crops of known, novel and OOD classes, as figures show them."""

    vectors: NDArray[np.float64]  # (N, D)
    roles: NDArray[np.str_]  # (N,)
    labels: NDArray[np.int64]  # (N,)
    index: NDArray[np.int64]  # (N,)
    groups: NDArray[np.str_]  # (N,)
    thumbnails: NDArray[np.uint8] | None  # (N, S, S)

    def rows(self, rows: NDArray[np.int64]) -> "ShownCrops":
        """Some of the crops, by their rows."""
        return ShownCrops(
            self.vectors[rows],
            self.roles[rows],
            self.labels[rows],
            self.index[rows],
            self.groups[rows],
            None if self.thumbnails is None else self.thumbnails[rows],
        )

    def same_as(self, other: "ShownCrops") -> bool:
        """Whether both are the same crops, so that a point of one stands for a point of the other."""
        pairs = ((self.index, other.index), (self.labels, other.labels), (self.roles, other.roles))
        return all(np.array_equal(mine, theirs) for mine, theirs in pairs)


def shown_crops(evidence: Evidence) -> ShownCrops:
    """Every test crop: the known ones, then the novel, then the OOD ones, each in the order of the evidence."""
    sets = [evidence.sets[role] for role in ROLES]
    return ShownCrops(
        vectors=np.concatenate([part.vectors.double().numpy() for part in sets]),
        roles=np.repeat(ROLES, [len(part) for part in sets]),
        labels=np.concatenate([part.labels.numpy() for part in sets]),
        index=np.concatenate([part.index.numpy() for part in sets]),
        groups=np.concatenate([evidence.groups[role] for role in ROLES]),
        thumbnails=np.concatenate([evidence.thumbnails[role] for role in ROLES]) if evidence.thumbnails else None,
    )


def chosen_crops(evidence: Evidence, most: int = MOST_POINTS) -> ShownCrops:
    """At most `most` of the test crops: drawn with a fixed seed, small classes kept."""
    crops = shown_crops(evidence)
    return crops.rows(_drawn(crops.labels, most))


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


def used_method(number: int, method: Method = "tsne") -> Method:
    """The method that projects so many crops: PCA for fewer than `FEWEST_FOR_TSNE`, whatever was asked for."""
    return "pca" if number < FEWEST_FOR_TSNE else method


def project(vectors: NDArray[np.float64], method: Method = "tsne") -> NDArray[np.float64]:
    """Coordinates (N, 2) of vectors (N, D), the same on every call, by `used_method`.

    t-SNE shows who is whose neighbour; distances between groups and their sizes mean nothing. PCA shows the two
    directions of largest variance. The latest projections are kept, so that a second figure of a run costs nothing.
    """
    wide = np.ascontiguousarray(vectors, dtype=np.float64)
    return _projected(wide.tobytes(), wide.shape, used_method(len(wide), method)).copy()


@lru_cache(maxsize=KEPT)
def _projected(content: bytes, shape: tuple[int, int], method: Method) -> NDArray[np.float64]:
    """Coordinates (N, 2) of the vectors with these bytes and this shape."""
    flat = principal(np.frombuffer(content).reshape(shape), 50)  # (N, 50) at most
    plane = np.zeros((shape[0], 2))
    plane[:, : min(2, flat.shape[1])] = flat[:, :2]
    if method == "pca":
        return plane
    start = 1e-4 * plane / max(float(plane[:, 0].std()), 1e-12)
    tsne = TSNE(perplexity=min(30.0, (len(plane) - 1) / 3), init=start, random_state=0)
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
