"""Projections of embeddings to the plane, and thumbnails of their crops as images for a page."""

import base64
import io
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dml_lightning.evaluation.evidence import Evidence
from dml_lightning.figures.palette import DRAWN
from dml_lightning.types import Projection

MOST_POINTS = 600  # largest number of points of a projection
FEWEST_OF_CLASS = 12  # crops of a class that are kept however small its share is
FEWEST_FOR_TSNE = 30  # crops
# t-SNE in longer and fewer steps than scikit-learn's, with coarser sums over far points: on trained runs, 64 to 67 % of
# the ten nearest neighbours of a crop are among its ten in the plane, as after 1000 steps, in a third of the time.
QUICK: Any = {"max_iter": 350, "angle": 0.8}
PROJECTIONS_KEPT = 32  # projections in memory, each with its vectors: 20 MB if they have 64 dimensions
SPRITE_COLUMNS = 40
SPRITE_SIDE = 32  # largest side of a crop in a sprite, in px
CROP_SIDE = 128  # largest side of a crop that stands alone, in px


@dataclass(frozen=True, eq=False)
class ShownCrops:
    """Test crops of known, novel and OOD classes that figures show."""

    vectors: NDArray[np.float64]  # (N, D)
    roles: NDArray[np.str_]  # (N,)
    labels: NDArray[np.int64]  # (N,)
    index: NDArray[np.int64]  # (N,)
    groups: NDArray[np.str_]  # (N,)
    thumbnails: NDArray[np.uint8] | None  # (N, S, S)

    def rows(self, rows: NDArray[np.int64]) -> "ShownCrops":
        """The crops at some rows."""
        return ShownCrops(
            self.vectors[rows],
            self.roles[rows],
            self.labels[rows],
            self.index[rows],
            self.groups[rows],
            None if self.thumbnails is None else self.thumbnails[rows],
        )

    def same_as(self, other: "ShownCrops") -> bool:
        """Whether both hold the same crops in the same order, whatever their vectors."""
        pairs = ((self.index, other.index), (self.labels, other.labels), (self.roles, other.roles))
        return all(np.array_equal(mine, theirs) for mine, theirs in pairs)


def shown_crops(evidence: Evidence) -> ShownCrops:
    """Every test crop: known, then novel, then OOD, each in the order of the evidence."""
    sets = [evidence.sets[role] for role in DRAWN]
    return ShownCrops(
        vectors=np.concatenate([part.vectors.double().numpy() for part in sets]),
        roles=np.repeat(DRAWN, [len(part) for part in sets]),
        labels=np.concatenate([part.labels.numpy() for part in sets]),
        index=np.concatenate([part.index.numpy() for part in sets]),
        groups=np.concatenate([evidence.groups[role] for role in DRAWN]),
        thumbnails=np.concatenate([evidence.thumbnails[role] for role in DRAWN]) if evidence.thumbnails else None,
    )


def chosen_crops(evidence: Evidence, most: int = MOST_POINTS) -> ShownCrops:
    """Draws at most `most` of the test crops with a fixed seed; of small classes it keeps more than their share."""
    crops = shown_crops(evidence)
    return crops.rows(_drawn(crops.labels, most))


def _drawn(labels: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """At most `most` ascending rows: of each class its share, or `FEWEST_OF_CLASS` if that is more."""
    rng = np.random.default_rng(0)
    order = rng.permutation(len(labels))
    share = most / max(most, len(labels))
    drawn = [np.empty(0, np.int64)]
    for label in np.unique(labels):
        own = order[labels[order] == label]
        drawn.append(own[: max(FEWEST_OF_CLASS, round(share * len(own)))])
    return np.sort(rng.permutation(np.concatenate(drawn))[:most])


def used_method(number: int, method: Projection = "tsne") -> Projection:
    """The method that projects `number` crops: PCA for fewer than `FEWEST_FOR_TSNE`, else `method`.

    >>> used_method(29), used_method(30)
    ('pca', 'tsne')
    """
    return "pca" if number < FEWEST_FOR_TSNE else method


def project(vectors: NDArray[np.float64], method: Projection = "tsne") -> NDArray[np.float64]:
    """Projects vectors to the plane by `used_method`, with the same result on every call.

    t-SNE shows which crops are neighbours; the sizes of groups and the distances between them mean nothing. PCA shows
    the two directions of largest variance. The latest projections are kept in memory for further figures of a run.

    Args:
        vectors: Vectors (N, D).
        method: Method to use if there are enough vectors.

    Returns:
        Coordinates (N, 2).

    >>> project(np.array([[0.0, 0.0], [3.0, 4.0]])).round(3).tolist()
    [[-2.5, 0.0], [2.5, 0.0]]
    """
    wide = np.ascontiguousarray(vectors, dtype=np.float64)
    return _projected(wide.tobytes(), wide.shape, used_method(len(wide), method)).copy()


@lru_cache(maxsize=PROJECTIONS_KEPT)
def _projected(content: bytes, shape: tuple[int, int], method: Projection) -> NDArray[np.float64]:
    """Coordinates (N, 2) of the vectors with these bytes and this shape."""
    flat = principal(np.frombuffer(content).reshape(shape), 50)  # (N, 50) at most
    plane = np.zeros((shape[0], 2))
    plane[:, : min(2, flat.shape[1])] = flat[:, :2]
    if method == "pca":
        return plane
    from sklearn.manifold import TSNE  # takes half a second

    start = 1e-4 * plane / max(float(plane[:, 0].std()), 1e-12)
    perplexity = min(30.0, (len(plane) - 1) / 3)
    tsne = TSNE(perplexity=perplexity, init=start, random_state=0, learning_rate=max(len(plane) / 4, 50.0), **QUICK)
    return np.asarray(tsne.fit_transform(flat), dtype=np.float64)


def principal(vectors: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    """Coordinates along the directions of largest variance, with the signs that scikit-learn's PCA gives.

    Unlike scikit-learn's PCA it accepts no vectors at all, and vectors that are all equal.

    Args:
        vectors: Vectors (N, D).
        most: Largest number of directions.

    Returns:
        Coordinates (N, K), K being the smallest of N, D and `most`; (0, 2) without vectors.
    """
    if not len(vectors):
        return np.zeros((0, 2))
    _, _, directions = np.linalg.svd(vectors - vectors.mean(0), full_matrices=False)
    directions = directions[:most]
    largest = np.abs(directions).argmax(1)
    signs = np.sign(directions[np.arange(len(directions)), largest])
    return np.asarray((vectors - vectors.mean(0)) @ (directions * signs[:, None]).T)


def sprite(images: NDArray[np.uint8]) -> tuple[str, int]:
    """Puts crops into one grey PNG, in rows of `SPRITE_COLUMNS`.

    Args:
        images: Thumbnails (N, S, S) of the crops.

    Returns:
        Data address of the PNG, and the side of a crop in it, in px.
    """
    side = min(SPRITE_SIDE, images.shape[1])
    rows = -(-len(images) // SPRITE_COLUMNS)
    sheet = np.zeros((rows * side, SPRITE_COLUMNS * side), np.uint8)
    for number, image in enumerate(images):
        row, column = divmod(number, SPRITE_COLUMNS)
        sheet[row * side : (row + 1) * side, column * side : (column + 1) * side] = _small(image, side)
    return png(sheet), side


def _small(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Reduces a crop (S, S) to (side, side)."""
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BOX))


def crop_png(image: NDArray[np.uint8]) -> str:
    """Data address of a PNG of a crop (S, S), with no more pixels than a page shows."""
    return png(_small(image, min(CROP_SIDE, len(image))))


def png(image: NDArray[np.uint8]) -> str:
    """Data address of a PNG of a grey image (H, W)."""
    out = io.BytesIO()
    Image.fromarray(image).save(out, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode("ascii")
