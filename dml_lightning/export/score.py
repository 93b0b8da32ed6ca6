"""Names thermal crops with an exported model, and refuses what it does not know; it stands alone.

Needs numpy, onnxruntime and safetensors; tifffile or Pillow only to read frames from the command line.

    python score.py crops.npy                        one CSV row per crop, on standard output
    python score.py frame.tiff --boxes boxes.csv     one per box; columns x, y, width, height in px

    from score import Model
    model = Model("folder")
    said = model.predict(model.cut(frame, boxes))    # dict of arrays: label, decision, ...

Letters: N crops, S side of a crop in px, H x W frame in px, D embedding size, C known classes, E enrolled species.
"""

import argparse
import csv
import hashlib
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from safetensors.numpy import load

FORMAT = 1
FLOORS = {"counts": 1.0, "degC": 0.05}  # smallest scale that a crop is divided by
FRAME_SAMPLES = 128  # rows and columns, at least, on which the statistics of a frame are computed
BATCH = 256  # crops embedded at once
ELEMENTS = 1 << 24  # of a block of distances
SLACK = 8  # candidates beyond k

Floats = NDArray[np.float32]


class Crops(NamedTuple):
    """Raw crops of one or more frames."""

    pixels: Floats  # (N, 1, S, S) in the model's unit
    statistics: Floats | None = None  # (N, 2) location and scale of the frame; of a model with normalisation "frame"


class Model:
    """An exported folder.

    Args:
        folder: With model.json, encoder.onnx and arrays.safetensors.
        providers: Of onnxruntime, such as CUDAExecutionProvider.

    Raises:
        ValueError: If a file is missing or damaged, or onnxruntime lacks a provider.
    """

    def __init__(self, folder: str | Path, providers: Sequence[str] = ("CPUExecutionProvider",)) -> None:
        path = Path(folder)
        self.words = _read_words(path / "model.json")
        self.arrays = load(_checked(path, "arrays.safetensors", self.words))
        absent = set(providers) - set(onnxruntime.get_available_providers())
        if absent:
            raise ValueError(
                f"onnxruntime has no {', '.join(sorted(absent))} here, only "
                f"{', '.join(onnxruntime.get_available_providers())}."
            )
        graph = _checked(path, "encoder.onnx", self.words)
        self.session = onnxruntime.InferenceSession(graph, providers=list(providers))
        self.crop: dict[str, Any] = self.words["crop"]
        self.rules: dict[str, dict[str, Any]] = self.words["rules"]
        self.names = np.array(self.words["classes"] + [species["label"] for species in self.words["enrolled"]])

    # Frames to crops ----------------------------------------------------------------------------

    def cut(self, frame: NDArray[Any], boxes: Any) -> Crops:
        """Cuts the squares that the model was trained on.

        Args:
            frame: (H, W) as the camera wrote it: unsigned integers in counts, or floats in degC.
            boxes: (N, 4): x and y of the top left corner, width and height, in px.

        Raises:
            ValueError: If the frame is of another kind than the model takes, or a box lies outside.
        """
        pixels = self._in_unit(np.asarray(frame))
        corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
        _check_boxes(corners, pixels.shape)
        size, stored = self.crop["crop_size"], self.crop["stored_size"]
        edge = (stored - size) // 2
        centres = corners[:, :2] + corners[:, 2:] / 2
        sides = np.maximum(corners[:, 2:].max(axis=1) * (1 + self.crop["context"]), self.crop["min_side"])
        fields = sides * (stored / size)
        inner = slice(edge, edge + size)
        crops = [
            _resample(pixels, centre, field, stored)[inner, inner]
            for centre, field in zip(centres, fields, strict=True)
        ]
        stacked = np.array(crops, np.float32).reshape(-1, 1, size, size)
        if self.crop["normalisation"] != "frame":
            return Crops(stacked)
        return Crops(stacked, np.tile(self._frame_statistics(pixels), (len(stacked), 1)))

    def _in_unit(self, frame: NDArray[Any]) -> NDArray[Any]:
        if frame.ndim != 2 or frame.dtype.kind not in "fu":
            raise ValueError(
                f"a frame is (H, W) of unsigned integers in counts or of floats in degC, got {frame.dtype} "
                f"{frame.shape}."
            )
        radiometry, unit = self.crop["radiometry"], self.crop["unit"]
        if frame.dtype.kind == "f":
            came, pixels = "degC", frame.astype(np.float32)
        elif radiometry is not None:
            celsius = radiometry["gain"] * frame.astype(np.float64) + radiometry["offset"]
            came, pixels = "degC", celsius.astype(np.float32)
        else:
            came, pixels = "counts", frame
        if came != unit:
            raise ValueError(f"the frame is {frame.dtype} in {came}, and the model takes {unit}.")
        if not np.isfinite(pixels).all():
            raise ValueError("the frame holds NaN or infinity; fill such pixels before.")
        return pixels

    def _frame_statistics(self, pixels: NDArray[Any]) -> Floats:
        """Location and scale (2,) of a frame: median; the larger of quantile range, deviation and floor."""
        height, width = pixels.shape
        down, across = max(1, height // FRAME_SAMPLES), max(1, width // FRAME_SAMPLES)
        thinned = pixels[::down, ::across].astype(np.float32)
        low, median, high = _quantiles(thinned, (0.05, 0.5, 0.95))
        scale = max(high - low, thinned.std(dtype=np.float64), FLOORS[self.crop["unit"]])
        return np.array([median, scale], np.float32)

    # Crops to embeddings to answers ----------------------------------------------------------------

    def embed(self, crops: Any) -> tuple[Floats, Floats | None]:
        """Embeddings (N, D), and logits (N, C) of an arm that classifies.

        Args:
            crops: What `cut` returns, or (N, S, S) or (N, 1, S, S) raw pixels in the model's unit.

        Raises:
            ValueError: If the crops are of another size, hold NaN, or lack the statistics of their frames.
        """
        given = crops if isinstance(crops, Crops) else Crops(np.asarray(crops))
        feeds = {"crops": self._checked_pixels(given.pixels)}
        if self.crop["normalisation"] == "frame":
            if given.statistics is None:
                raise ValueError(
                    "this model normalises by the frame, so it needs location and scale of each crop's frame: "
                    "take crops from `cut`, or give Crops(pixels, statistics)."
                )
            feeds["statistics"] = np.asarray(given.statistics, np.float32).reshape(-1, 2)
        count = len(feeds["crops"])
        if count == 0:  # the graph needs one
            feeds = {key: np.ones((1, *part.shape[1:]), np.float32) for key, part in feeds.items()}
        outputs = [
            self.session.run(None, {key: part[i : i + BATCH] for key, part in feeds.items()})
            for i in range(0, max(count, 1), BATCH)
        ]
        joined = [np.concatenate(parts)[:count] for parts in zip(*outputs, strict=True)]
        return joined[0], joined[1] if len(joined) > 1 else None

    def _checked_pixels(self, pixels: NDArray[Any]) -> Floats:
        size = self.crop["crop_size"]
        if pixels.ndim not in (3, 4) or pixels.shape[1:] not in ((size, size), (1, size, size)):
            raise ValueError(
                f"crops are (N, {size}, {size}) pixels in {self.crop['unit']}, got {pixels.shape}; "
                "`cut` makes them from a frame and boxes."
            )
        result = np.ascontiguousarray(pixels, dtype=np.float32).reshape(-1, 1, size, size)
        if not np.isfinite(result).all():
            raise ValueError("a crop holds NaN or infinity; fill such pixels before.")
        return result

    def predict(self, crops: Any, rule: str | None = None, k: int = 5) -> dict[str, NDArray[Any]]:
        """Names and decisions, one entry per crop in each array.

        Keys: label (by the arm's own rule, or the enrolled species in whose ball the crop lies), label_prototype (of
        the nearest prototype), label_radius (of the smallest distance less the radius of the class), label_knn,
        distance (to the nearest prototype), distance_trained (to the nearest of the classes trained on), neighbours
        (stored crops, nearest first), ood_score_R for each rule R (larger is more OOD), p_value (rule C, classes
        trained on; NaN without), decision.

        Args:
            crops: As `embed` takes them.
            rule: The rule that decides; the model's own default if not given.
            k: Stored crops to name for each crop, and to vote for label_knn.

        Raises:
            ValueError: As `embed`, or if there is no such rule.
        """
        return self.judge(*self.embed(crops), rule=rule, k=k)

    def judge(
        self, embeddings: Floats, logits: Floats | None, rule: str | None = None, k: int = 5
    ) -> dict[str, NDArray[Any]]:
        """What `predict` says, of embeddings (N, D) and logits (N, C)."""
        chosen = self.words["default_rule"] if rule is None else rule
        if chosen not in self.rules:
            raise ValueError(f"there is no rule {chosen!r}; there are {', '.join(self.rules)}.")
        vectors = embeddings.astype(np.float64)
        known = _distances(vectors, self.arrays["prototypes"])  # (N, C)
        new = _distances(vectors, self.arrays["enrolled_prototypes"])  # (N, E)
        distances = np.concatenate([known, new], axis=1)
        nearest = distances.argmin(axis=1)
        excess = new - self.arrays["enrolled_radii"]  # (N, E)
        beyond = _beyond(nearest - known.shape[1], excess)
        trained = known.argmin(axis=1)
        if self.words["prediction_rule"] == "softmax" and logits is not None:
            trained = logits.argmax(axis=1)
        own = np.where(beyond <= 0, nearest, trained)
        adjusted = np.concatenate([known - self.arrays["radii"], excess], axis=1)  # (N, C + E)
        rows, voted = self._neighbours(embeddings, k)
        scores = {name: self._own_score(name, known) for name in self.rules}  # without the enrolled
        refused = (scores[chosen] > self._threshold(chosen)) & (beyond > 0)
        return {
            "label": self.names[own],
            "label_prototype": self.names[nearest],
            "label_radius": self.names[adjusted.argmin(axis=1)],
            "label_knn": self.names[voted],
            "distance": distances.min(axis=1),
            "distance_trained": known.min(axis=1),
            "neighbours": rows,
            **{f"ood_score_{name}": self._score(name, own, beyond) for name, own in scores.items()},
            "p_value": self._p_values(scores),
            "decision": np.where(refused, "unknown", "known"),
        }

    def _threshold(self, rule: str) -> float:
        value = self.rules[rule]["threshold"]
        return math.inf if value is None else float(value)

    def _own_score(self, rule: str, distances: NDArray[np.float64]) -> NDArray[np.float64]:
        """The score (N,) of a rule from distances (N, C) to the classes trained on."""
        kind = self.rules[rule]["kind"]
        if kind != "nearest":
            ball = self.arrays["radii" if kind == "radius" else f"class_thresholds.{rule}"]
            distances = distances - ball
        least: NDArray[np.float64] = distances.min(axis=1)
        return least

    def _score(self, rule: str, own: NDArray[np.float64], beyond: NDArray[np.float64]) -> NDArray[np.float64]:
        """The same with the balls of the enrolled species beside those of the known classes."""
        threshold = self._threshold(rule)
        joined: NDArray[np.float64] = np.minimum(own, threshold + beyond)
        return own if math.isinf(threshold) else joined

    def _p_values(self, scores: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """(1 + calibration scores at or above the score) / (n + 1), under rule C."""
        if "C" not in scores:
            return np.full(len(next(iter(scores.values()))), np.nan)
        calibration = self.arrays["calibration_scores"]  # ascending
        below = np.searchsorted(calibration, scores["C"], side="left")
        return np.asarray((1 + len(calibration) - below) / (len(calibration) + 1))

    def _neighbours(self, embeddings: Floats, k: int) -> tuple[NDArray[np.str_], NDArray[np.int64]]:
        """The k nearest stored crops of each crop in words (N,), and the class (N,) that most of them have."""
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}.")
        labels = self.arrays["reference_labels"]
        found = nearest_rows(embeddings, self.arrays["reference_vectors"], k)
        words = [" ".join(self._in_words(row) for row in own) for own in found.tolist()]
        near = labels[found]  # (N, k)
        votes = (near[:, :, None] == near[:, None, :]).sum(axis=2)
        voted: NDArray[np.int64] = near[np.arange(len(near)), votes.argmax(axis=1)]
        return np.array(words, dtype=str), voted  # of equally common classes that of the nearest

    def _in_words(self, row: int) -> str:
        """A stored crop as "index:label", one of an enrolled species as "label/number:label"."""
        label, number = self.arrays["reference_labels"][row], self.arrays["reference_index"][row]
        name = self.names[label]
        enrolled = label >= len(self.words["classes"])
        return f"{name}/{number}:{name}" if enrolled else f"{number}:{name}"


def nearest_rows(queries: Floats, references: Floats, k: int) -> NDArray[np.int64]:
    """Rows (N, k) of the nearest references (M, D) of each query (N, D); equal ones (as float32) in their order.

    A float64 product nominates, differences decide.
    """
    k = min(k, len(references))
    centre = references.astype(np.float64).mean(axis=0)
    right = references - centre
    norms = (right**2).sum(axis=1)
    count = min(k + SLACK, len(references))
    found = np.empty((len(queries), k), np.int64)
    block = max(1, ELEMENTS // max(len(references), count * references.shape[1]))
    for start in range(0, len(queries), block):
        part = queries[start : start + block].astype(np.float64) - centre
        nominated = np.argpartition(norms - 2 * part @ right.T, count - 1, axis=1)[:, :count]
        nominated.sort(axis=1)
        squared = ((right[nominated] - part[:, None]) ** 2).sum(axis=2).astype(np.float32)
        order = np.argsort(squared, axis=1, kind="stable")[:, :k]
        found[start : start + block] = np.take_along_axis(nominated, order, axis=1)
    return found


def _beyond(enrolled: NDArray[np.int64], excess: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far each crop (N,) lies outside the ball of the enrolled species that it is nearest to.

    Args:
        enrolled: (N,) number of that species, negative where a class trained on is nearest: infinitely far.
        excess: (N, E) distances to the prototypes of the species less their radii.
    """
    beyond = np.full(len(enrolled), np.inf)
    mine = np.flatnonzero(enrolled >= 0)
    beyond[mine] = excess[mine, enrolled[mine]]
    return beyond


def _distances(vectors: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distances (N, P) to a few points (P, D), from differences."""
    columns = [np.sqrt(((vectors - point) ** 2).sum(axis=1)) for point in points]
    return np.stack(columns, axis=1) if columns else np.empty((len(vectors), 0))


# The geometry of crops -------------------------------------------------------------------------


def _check_boxes(boxes: NDArray[np.float64], shape: tuple[int, ...]) -> None:
    height, width = shape
    x, y, box_width, box_height = boxes.T
    inside = (x < width) & (y < height) & (x + box_width > 0) & (y + box_height > 0)
    sound = np.isfinite(boxes).all(axis=1) & (box_width > 0) & (box_height > 0)
    wrong = np.flatnonzero(~(inside & sound))
    if len(wrong):
        box = boxes[wrong[0]].tolist()
        raise ValueError(
            f"box {wrong[0]} with x, y, width, height = {box} shows nothing of the {width}x{height} px frame."
        )


def _resample(pixels: NDArray[Any], centre: NDArray[np.float64], side: float, size: int) -> Floats:
    """A square of a frame at size x size px: antialiased linear, beyond the edges by reflection."""
    step = side / size
    left, columns = _filter_taps(float(centre[0]) - side / 2, step, size)
    top, rows = _filter_taps(float(centre[1]) - side / 2, step, size)
    height, width = pixels.shape
    x = _reflect(np.arange(left, left + columns.shape[1]), width)
    y = _reflect(np.arange(top, top + rows.shape[1]), height)
    source = pixels[y[:, None], x].astype(np.float32)
    base = source[0, 0]  # keeps single counts apart on a narrow range of large ones in float32
    result: Floats = rows @ (source - base) @ columns.T + base
    return result


def _reflect(positions: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Mirrors at the outer edges: (d c b a | a b c d | d c b a)."""
    inside = positions % (2 * size)
    return np.where(inside < size, inside, 2 * size - 1 - inside)


def _filter_taps(start: float, step: float, count: int) -> tuple[int, Floats]:
    """First source pixel and weights (count, sources) of a triangle filter as wide as a step, but at least 1 px.

    Output i covers start + i * step .. start + (i + 1) * step, source pixel j covers j .. j + 1.
    """
    centres = start + step * (np.arange(count) + 0.5)
    radius = max(1.0, step)
    first = math.floor(centres[0] - radius)
    sources = np.arange(first, math.ceil(centres[-1] + radius)) + 0.5
    weights = np.maximum(0.0, 1.0 - np.abs(sources - centres[:, None]) / radius)
    return first, (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _quantiles(values: Floats, levels: Sequence[float]) -> list[np.float32]:
    """Quantiles in float32 as PyTorch rounds them, which matters on a narrow range of large counts."""
    ordered, found = np.sort(values, axis=None), []
    for level in levels:
        position = np.float32(level) * np.float32(len(ordered) - 1)
        lower, upper = ordered[int(np.floor(position))], ordered[int(np.ceil(position))]
        weight = position - np.floor(position)
        if weight < 0.5:
            found.append(lower + weight * (upper - lower))
        else:
            found.append(upper - (upper - lower) * (np.float32(1) - weight))
    return found


# Files -----------------------------------------------------------------------------------------


def _read_words(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"{path.parent} is no exported model: it has no {path.name}.")
    try:
        words: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version = int(words["format"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({type(error).__name__}: {error}).") from None
    if version > FORMAT:
        raise ValueError(
            f"{path} has the format {version}, and this score.py reads {FORMAT}: use the one in the folder."
        )
    return words


def _checked(folder: Path, name: str, words: dict[str, Any]) -> bytes:
    """The bytes of a file that model.json vouches for."""
    path = folder / name
    if not path.is_file():
        raise ValueError(f"{path} is missing: copy the whole folder.")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != words["files"][name]:
        raise ValueError(f"{path} is not the file that model.json was written with.")
    return content


def read_pixels(path: Path) -> NDArray[Any]:
    """The array of a .npy, TIFF or other picture file."""
    if path.suffix == ".npy":
        array: NDArray[Any] = np.load(path, allow_pickle=False)
        return array
    if path.suffix in (".tif", ".tiff"):
        import tifffile

        return np.asarray(tifffile.imread(path))
    from PIL import Image

    with Image.open(path) as picture:
        return np.asarray(picture)


def read_boxes(path: Path) -> NDArray[np.float64]:
    """Boxes (N, 4) of a CSV file with columns x, y, width, height."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    try:
        boxes = [[float(row[key]) for key in ("x", "y", "width", "height")] for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} needs numbers in the columns x, y, width, height ({error}).") from None
    return np.array(boxes).reshape(-1, 4)


def main() -> None:
    """The command line, see the top of the file."""
    parser = argparse.ArgumentParser(description="Names thermal crops, and refuses the unknown.")
    parser.add_argument("pixels", type=Path, help="crops (N, S, S) as .npy; or a frame, with --boxes")
    parser.add_argument("--boxes", type=Path, help="CSV with x, y, width, height in px")
    parser.add_argument("--rule", help="that decides; the model's default if not given")
    parser.add_argument("--model", type=Path, default=Path(__file__).parent, help="exported folder")
    given = parser.parse_args()
    try:
        model, pixels = Model(given.model), read_pixels(given.pixels)
        crops = model.cut(pixels, read_boxes(given.boxes)) if given.boxes else pixels
        said = model.predict(crops, given.rule)
    except (ValueError, OSError) as error:
        raise SystemExit(f"score.py: {error}") from None
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(said)
    writer.writerows(zip(*(array.tolist() for array in said.values()), strict=True))


if __name__ == "__main__":
    main()
