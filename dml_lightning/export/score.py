"""Names thermal crops with an exported model, and refuses what it does not know.

It needs what lies beside it: the geometry of crops, the scores and the judgement of a box, the rules about frame files.

Needs numpy, onnxruntime and safetensors; tifffile, imagecodecs and Pillow only to read frames.

    python score.py crops.npy                        one CSV row per crop, on standard output
    python score.py frame.tiff --boxes boxes.csv     one per box; columns x, y, width, height in px

    from score import Model
    model = Model("folder")
    frame = model.read("frame.tiff")
    result = model.predict(model.cut(frame, boxes))  # dict of arrays: label, decision, ...

Letters: N crops, S side of a crop in px, H x W frame in px, D embedding size, C known classes, E enrolled species.
"""

import argparse
import csv
import hashlib
import io
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

from dml_lightning.data import geometry
from dml_lightning.data import pixels as files
from dml_lightning.openset import judge as judgement
from dml_lightning.openset import scores as scoring

MODEL_FORMAT = 2
BATCH = 256  # crops embedded at once
BOX = ("x", "y", "width", "height")  # columns of a table of boxes

Float32 = NDArray[np.float32]


class Crops(NamedTuple):
    """Raw crops of one or more frames."""

    pixels: Float32  # (N, 1, S, S) in the model's unit
    statistics: Float32 | None = None  # (N, 2) location and scale of the crop's frame, for normalisation "frame"
    side: Float32 | None = None  # (N, m) what the model takes of each box, such as its width in px or metres


class Embedded(NamedTuple):
    """What the graph makes of N crops."""

    embeddings: Float32  # (N, D)
    logits: Float32 | None = None  # (N, C) of an arm that classifies
    features: Float32 | None = None  # (N, F) of the backbone at unit length, if the model refuses by them


class Model:
    """A model read from an exported folder.

    Args:
        folder: Folder with model.json, encoder.onnx and arrays.safetensors.
        providers: Execution providers of onnxruntime, such as CUDAExecutionProvider.

    Raises:
        ValueError: If a file is missing or damaged, or onnxruntime lacks a provider.
    """

    def __init__(self, folder: str | Path, providers: Sequence[str] = ("CPUExecutionProvider",)) -> None:
        path = Path(folder)
        self.content = _read_content(path / "model.json")
        self.arrays = load(_checked(path, "arrays.safetensors", self.content))
        absent = set(providers) - set(onnxruntime.get_available_providers())
        if absent:
            raise ValueError(
                f"onnxruntime has no {', '.join(sorted(absent))} here, only "
                f"{', '.join(onnxruntime.get_available_providers())}."
            )
        graph = _checked(path, "encoder.onnx", self.content)
        self.session = onnxruntime.InferenceSession(graph, providers=list(providers))
        self.crop: dict[str, Any] = self.content["crop"]
        self.box_inputs = [name for name in self.crop.get("side_inputs", []) if name in geometry.BOX_INPUTS]
        self.rules: dict[str, dict[str, Any]] = self.content["rules"]
        self.names = np.array(self.content["classes"] + [species["label"] for species in self.content["enrolled"]])

    # Frames to crops ----------------------------------------------------------------------------

    def read(self, path: str | Path) -> files.Frame:
        """Reads a frame as training did: TIFF, PNG, JPEG, radiometric JPEG of FLIR or an array (.npy).

        Raises:
            ValueError: With the file and what is wrong with it.
        """
        return files.read_frame(path, self._radiometry())

    def cut(self, frame: files.Frame | NDArray[Any], boxes: Any, gsd: float | None = None) -> Crops:
        """Cuts the squares that the model was trained on.

        Args:
            frame: What `read` returns, or (H, W) as the camera wrote it: integers in counts, or floats in degC.
            boxes: (N, 4): x and y of the top left corner, width and height, in px.
            gsd: Ground sampling distance in m per px, for a model that takes sizes or crops in metres.

        Raises:
            ValueError: If the frame is of a kind that the model does not take, a box lies outside the frame, or gsd
                is needed and is no positive number.
        """
        metres = self.crop.get("crop_metres")
        metric = [name for name in self.box_inputs if name.endswith("_m")] + ["crops in metres"] * (metres is not None)
        if metric and not (gsd is not None and 0 < gsd < math.inf):
            raise ValueError(f"this model takes {', '.join(metric)}: give gsd, metres per px of the frame (--gsd).")
        known = frame if isinstance(frame, files.Frame) else files.frame_of(np.asarray(frame), self._radiometry())
        if known.unit != self.crop["unit"]:
            raise ValueError(f"the frame is in {known.unit}, and the model takes {self.crop['unit']}.")
        corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
        options: dict[str, Any] = {key: self.crop[key] for key in ("crop_size", "stored_size", "context", "min_side")}
        try:
            geometry.check_boxes(corners, known.size)
            if metres is not None and gsd is not None:
                options["sides"] = known.sides_of(metres, np.full(len(corners), gsd))
            patches = geometry.cut(known.pixels, known.on_pixels(corners), **options)
        except geometry.BoxError as error:
            box = corners[error.number].tolist()
            raise ValueError(
                f"box {error.number} with x, y, width, height = {box} {error.what}; {error.remedy}."
            ) from None
        size, stored = options["crop_size"], options["stored_size"]
        inner = slice((stored - size) // 2, (stored - size) // 2 + size)
        crops = np.ascontiguousarray(patches[:, None, inner, inner])
        side = geometry.box_inputs(corners, self.box_inputs, gsd if metric else math.nan)
        if self.crop["normalisation"] != "frame":
            return Crops(crops, None, side)
        return Crops(crops, np.tile(self._frame_statistics(known.pixels), (len(crops), 1)), side)

    def _radiometry(self) -> files.Radiometry | None:
        stated = self.crop["radiometry"]
        return None if stated is None else files.Radiometry(stated["gain"], stated["offset"])

    def _frame_statistics(self, pixels: Any) -> Float32:
        """Location and scale (2,) of a frame: median; the larger of quantile range, deviation and floor."""
        thinned = geometry.thinned(pixels)
        low, median, high = _quantiles(thinned, (0.05, 0.5, 0.95))
        scale = max(high - low, thinned.std(dtype=np.float64), geometry.FLOORS[self.crop["unit"]])
        return np.array([median, scale], np.float32)

    # Crops to embeddings to answers ----------------------------------------------------------------

    def embed(self, crops: Any) -> Embedded:
        """Embeds raw crops.

        Args:
            crops: Result of `cut`, or raw pixels (N, S, S) or (N, 1, S, S) in the model's unit.

        Raises:
            ValueError: If the crops have another size, hold NaN, or lack the statistics of their frames or the side
                inputs of their boxes.
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
        if self.box_inputs:
            feeds["side"] = self._checked_side(given)
        count = len(feeds["crops"])
        if count == 0:  # the graph needs at least one crop
            feeds = {key: np.ones((1, *part.shape[1:]), np.float32) for key, part in feeds.items()}
        outputs = [
            self.session.run(None, {key: part[i : i + BATCH] for key, part in feeds.items()})
            for i in range(0, max(count, 1), BATCH)
        ]
        joined = [np.concatenate(parts)[:count] for parts in zip(*outputs, strict=True)]
        named = dict(zip((output.name for output in self.session.get_outputs()), joined, strict=True))
        return Embedded(named["embedding"], named.get("logits"), named.get("features"))

    def _checked_pixels(self, pixels: NDArray[Any]) -> Float32:
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

    def _checked_side(self, crops: Crops) -> Float32:
        shape = (len(crops.pixels), len(self.box_inputs))
        side = np.empty(0) if crops.side is None else np.asarray(crops.side, np.float32)
        if side.shape != shape or not (np.isfinite(side) & (side > 0)).all():
            raise ValueError(
                f"this model takes {', '.join(self.box_inputs)} of each crop's box, which are above 0: take crops from "
                "`cut`, or give Crops(pixels, statistics, side)."
            )
        return side

    def predict(self, crops: Any, rule: str | None = None, k: int = 5) -> dict[str, NDArray[Any]]:
        """Names crops and decides which are known.

        Args:
            crops: Crops as `embed` takes them.
            rule: Rule that decides; the model's own default if not given.
            k: Number of stored crops that are named for each crop, and that vote for label_knn.

        Returns:
            Arrays with one entry per crop: species (the label of a known crop, empty for a refused one), label (the
            guess for every crop: by the arm's own rule, or the enrolled species in whose ball it lies), label_prototype
            (of the nearest prototype), label_radius (of the smallest distance less the radius of the class), label_knn,
            distance (to the nearest prototype), distance_trained (to the nearest prototype of the classes trained on),
            neighbours and neighbour_labels (JSON lists of the nearest stored crops and their classes), ood_score_R for
            each rule R (larger is more OOD), p_value (of rule C, for the classes trained on; NaN without rule C),
            decision (known or unknown), species_set (JSON list of the species that the crop may show, likeliest first,
            which holds that of a known crop with probability 1 - `alpha` of `sets` in model.json; not there if that is
            null).

        Raises:
            ValueError: If `embed` cannot take the crops, there is no such rule, or k is less than 1.
        """
        return self.judge(self.embed(crops), rule, k)

    def judge(self, embedded: Embedded, rule: str | None = None, k: int = 5) -> dict[str, NDArray[Any]]:
        """The result of `predict` for what `embed` returned."""
        chosen = self.content["default_rule"] if rule is None else rule
        if chosen not in self.rules:
            raise ValueError(f"there is no rule {chosen!r}; there are {', '.join(self.rules)}.")
        embeddings, arrays = embedded.embeddings, self.arrays
        vectors = embeddings.astype(np.float64)
        logits = embedded.logits if self.content["prediction_rule"] == "softmax" else None
        trained = judgement.distances(vectors, arrays["prototypes"])
        enrolled = judgement.distances(vectors, arrays["enrolled_prototypes"])
        judged = judgement.judge(
            trained,
            enrolled,
            arrays["radii"],
            arrays["enrolled_radii"],
            {name: self._rule(name) for name in self.rules},
            arrays["calibration_scores"] if "C" in self.rules else None,
            None if logits is None else logits.argmax(axis=1),
            self._scores(trained, embedded),
        )
        rows = self._neighbours(embeddings, k)  # (N, k)
        labels = arrays["reference_labels"][rows]
        known, label = judged.known[chosen], self.names[judged.name]
        return {
            "species": np.where(known, label, ""),
            "label": label,
            "label_prototype": self.names[judged.nearest],
            "label_radius": self.names[judged.adjusted],
            "label_knn": self.names[judgement.vote(labels)],
            "distance": judged.distance,
            "distance_trained": judged.distance_trained,
            "neighbours": np.array([json.dumps([self._crop(row) for row in own]) for own in rows.tolist()], dtype=str),
            "neighbour_labels": np.array(
                [json.dumps(own, ensure_ascii=False) for own in self.names[labels].tolist()], dtype=str
            ),
            **{f"ood_score_{name}": score for name, score in judged.score.items()},
            "p_value": judged.p_value,
            "decision": np.where(known, "known", "unknown"),
            **self._sets(trained, enrolled, logits),
        }

    def _sets(
        self, trained: NDArray[np.float64], enrolled: NDArray[np.float64], logits: NDArray[Any] | None
    ) -> dict[str, NDArray[Any]]:
        """Sets of species (N,), from distances (N, C) and (N, E), as JSON lists; none where the model has no limits."""
        if "set_limits" not in self.arrays:
            return {}
        behind = judgement.gaps(trained, logits)
        members = judgement.species_sets(behind, self.arrays["set_limits"], enrolled - self.arrays["enrolled_radii"])
        named = judgement.named_sets(behind, members, self.names.tolist())
        return {"species_set": np.array([json.dumps(names, ensure_ascii=False) for names in named], dtype=str)}

    def _rule(self, name: str) -> judgement.DecisionRule:
        threshold, kind = self.rules[name]["threshold"], self.rules[name]["kind"]
        balls = {"radius": "radii", "class": f"class_thresholds.{name}"}
        return judgement.DecisionRule(
            math.inf if threshold is None else float(threshold),
            self.arrays[balls[kind]] if kind in balls else None,
            given=kind not in ("nearest", *balls),
        )

    def _scores(self, distances: NDArray[np.float64], embedded: Embedded) -> NDArray[np.float64]:
        """Scores (N,) by the model's score, which is fitted on the crops of the classes trained on."""
        own = {name.partition(".")[2]: array for name, array in self.arrays.items() if name.startswith("score.")}
        trained = self.arrays["reference_labels"] < len(self.content["classes"])
        own |= {"radii": self.arrays["radii"], "vectors": self.arrays["reference_vectors"][trained]}
        kind = self.content.get("score", {"kind": "nearest"})["kind"]  # folders of format 1 have no choice
        return scoring.score(kind, scoring.Crops(distances, embedded.embeddings, embedded.features), own)

    def _neighbours(self, embeddings: Float32, k: int) -> NDArray[np.int64]:
        """Rows (N, k) of the nearest stored crops of each crop."""
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}.")
        return scoring.nearest_rows(embeddings, self.arrays["reference_vectors"], k)

    def _crop(self, row: int) -> str:
        """Name of a stored crop: its index, or "label/number" for one of an enrolled species."""
        label, number = self.arrays["reference_labels"][row], self.arrays["reference_index"][row]
        enrolled = label >= len(self.content["classes"])
        return f"{self.names[label]}/{number}" if enrolled else str(number)


# Frames ----------------------------------------------------------------------------------------


def _quantiles(values: Float32, levels: Sequence[float]) -> list[np.float32]:
    """Quantiles in float32 as PyTorch rounds them, which matters on a narrow range of large counts."""
    ordered, quantiles = np.sort(values, axis=None), []
    for level in levels:
        position = np.float32(level) * np.float32(len(ordered) - 1)
        lower, upper = ordered[int(np.floor(position))], ordered[int(np.ceil(position))]
        weight = position - np.floor(position)
        if weight < 0.5:
            quantiles.append(lower + weight * (upper - lower))
        else:
            quantiles.append(upper - (upper - lower) * (np.float32(1) - weight))
    return quantiles


# Files -----------------------------------------------------------------------------------------


def _read_content(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"{path.parent} is no exported model: it has no {path.name}.")
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version = int(content["format"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({type(error).__name__}: {error}).") from None
    if version > MODEL_FORMAT:
        raise ValueError(
            f"{path} has the format {version}, and this score.py reads {MODEL_FORMAT}: use the one in the folder."
        )
    return content


def _checked(folder: Path, name: str, model: dict[str, Any]) -> bytes:
    """The bytes of a file, if their digest is the one in model.json."""
    path = folder / name
    if not path.is_file():
        raise ValueError(f"{path} is missing: copy the whole folder.")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != model["files"][name]:
        raise ValueError(f"{path} is not the file that model.json was written with.")
    return content


def read_crops(path: Path) -> NDArray[Any]:
    """Crops (N, S, S) of a .npy file.

    Raises:
        ValueError: It is another file, or holds no real numbers.
    """
    if files.kind_of(path) != "npy":
        raise ValueError(f"{path} is a frame: give its boxes by --boxes, or crops as .npy.")
    array: NDArray[Any] = np.load(path, allow_pickle=False)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{path} holds {array.dtype}: crops are real numbers.")
    return array


def read_boxes(path: Path) -> NDArray[np.float64]:
    """Reads boxes (N, 4) from a CSV file with the columns x, y, width, height.

    Raises:
        ValueError: If a column is missing or occurs twice, or a row has more fields than columns or holds something
            else than numbers; the row is named.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file)
        names = [name.strip() for name in next(rows, [])]
        if any(names.count(key) != 1 for key in BOX):
            raise ValueError(f"{path} needs the columns {', '.join(BOX)}, once each, and has {', '.join(names)}.")
        places = [names.index(key) for key in BOX]
        boxes = [_box(path, rows.line_num, row, places, len(names)) for row in rows if any(row)]
    return np.array(boxes).reshape(-1, 4)


def _box(path: Path, line: int, row: list[str], places: list[int], columns: int) -> list[float]:
    """The four numbers of one row."""
    try:
        box = [float(row[place]) for place in places]
    except (IndexError, ValueError):
        box = [math.nan]
    if len(row) > columns or not all(map(math.isfinite, box)):
        raise ValueError(
            f"{path} row {line} has the fields {', '.join(row)}: {', '.join(BOX)} are numbers with a decimal point, "
            f"and there are {columns} columns."
        )
    return box


def main() -> None:
    """Runs the command line that the top of this file describes."""
    parser = argparse.ArgumentParser(description="Names thermal crops, and refuses the unknown.")
    parser.add_argument("pixels", type=Path, help="crops (N, S, S) as .npy; or a frame, with --boxes")
    parser.add_argument("--boxes", type=Path, help="CSV with x, y, width, height in px")
    parser.add_argument("--gsd", type=float, help="metres per px of the frame, for a model that takes metres")
    parser.add_argument("--rule", help="rule that decides; the model's default if not given")
    parser.add_argument("--model", type=Path, default=Path(__file__).parent, help="exported folder")
    args = parser.parse_args()
    try:
        model = Model(args.model)
        if args.boxes:
            crops: Any = model.cut(model.read(args.pixels), read_boxes(args.boxes), args.gsd)
        else:
            crops = read_crops(args.pixels)
        result = model.predict(crops, args.rule)
    except (ValueError, OSError) as error:
        raise SystemExit(f"score.py: {error}") from None
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # names of classes, whatever the terminal shows
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(result)
    writer.writerows(zip(*(array.tolist() for array in result.values()), strict=True))


if __name__ == "__main__":
    main()
