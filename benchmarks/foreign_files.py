"""Reads what the real tools write, and compares it box by box, and frames pixel by pixel.

    python benchmarks/foreign_files.py                    # every tool; nothing is written
    python benchmarks/foreign_files.py --only globox
    python benchmarks/foreign_files.py --save

Each tool of a pinned version is installed by pip into a temporary environment, where a script of `benchmarks/foreign`
lets it write one made-up data set in every format that it has and that can be read. Because it downloads packages, it
is no part of `make bench`. It ends with status 1 where something that was read differs by more than the format loses.
"""

import json
import math
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from dml_lightning.data.pixels import Radiometry, read_frame
from dml_lightning.data.sources import Reading
from dml_lightning.data.sources.recognise import read_source
from measure import ROOT, Result, options, run_tool

PACKAGES = ("numpy", "pandas", "pillow", "tifffile")
WRITERS = ROOT / "benchmarks" / "foreign"
LABELS = ("mallard", "green-winged teal", "Canada goose")
SIZES = {  # of the frames, width and height in px
    "flight 1/DJI 0001.png": (200, 120),
    "flight 1/DJI 0002.png": (120, 200),
    "flight 1/leer ü.png": (64, 48),  # without a box
    "flight 2/Müggelsee 0003.png": (641, 513),
    "flight 2/DJI_0004.png": (333, 77),
}
EMPTY = "flight 1/leer ü.png"
PER_FRAME = 5  # boxes
EXACT = 1e-9  # px; sums and quotients of float64

HUNDREDTH = 0.00504  # px; edges of two decimals, as float32


def of_decimals(decimals: int) -> float:
    """Bound in px of an edge given as a centre and a size in fractions with so many decimals."""
    return 0.75 * 10.0**-decimals * max(max(size) for size in SIZES.values())


class Format(NamedTuple):
    """One format of a tool: what is read, and by how many px an edge may differ, which the format itself loses."""

    place: str  # below the tool's folder: the path that is read
    bound: float = EXACT
    source: dict[str, Any] | None = None  # class_path and init_args, where a config has to say what the file does not
    scores: bool = False


def table(**how: Any) -> dict[str, Any]:
    """The config of a CSV table of corners whose other columns have names of their own."""
    how = {"file": "boxes.csv", "box_format": "xyxy", "frames": ".", **how}
    return {"class_path": "CsvTable", "init_args": how}


VOC_ONE_BASED = {"class_path": "PascalVoc", "init_args": {"one_based": True}}
VOC_OF_LABEL_STUDIO = {"class_path": "PascalVoc", "init_args": {"images": "images", "unlabelled": "empty"}}
SUPERVISION_CSV = table(
    frame_column="frame",
    label_column="name",
    box_columns=["x_min", "y_min", "x_max", "y_max"],
    score_column="confidence",
)
OPEN_IMAGES = table(
    frame_column="ImageID",
    label_column="LabelName",
    box_columns=["XMin", "YMin", "XMax", "YMax"],
    score_column="Confidence",
    relative=True,
)
FORMATS: dict[str, dict[str, Format]] = {
    "supervision==0.31.2": {
        "YOLO, 5 decimals": Format("yolo", of_decimals(5)),
        "Pascal VOC, whole px from 1": Format("voc", 0.5, VOC_ONE_BASED),
        "COCO": Format("coco"),
        "LabelMe": Format("labelme"),
        "CSV sink": Format("csv", EXACT, SUPERVISION_CSV, scores=True),
    },
    "globox==2.9.0": {
        "YOLO": Format("yolo"),
        "YOLO with scores": Format("yolo_scores", scores=True),
        "Pascal VOC": Format("voc"),
        "COCO": Format("coco"),
        "COCO with scores": Format("coco_scores", scores=True),
        "LabelMe": Format("labelme"),
        "CVAT": Format("cvat"),
        "Open Images CSV": Format("open_images", EXACT, OPEN_IMAGES, scores=True),
    },
    "label-studio-sdk==2.1.2": {
        "JSON, uploaded frames": Format("json_uploaded"),
        "JSON, local frames": Format("json_local"),
        "JSON, imported from YOLO": Format("json_imported"),
        "COCO": Format("coco"),
        "YOLO": Format("yolo"),
        "YOLO, turned boxes": Format("yolo_obb"),
        "Pascal VOC, whole px, cut off": Format("voc", 2.0, VOC_OF_LABEL_STUDIO),
    },
    "megadetector-utils==10.0.28": {
        "MegaDetector": Format("megadetector", scores=True),
        "LabelMe of MegaDetector, 3 decimals": Format("labelme", 0.001, scores=True),
        "COCO of MegaDetector, 3 decimals": Format("coco", 0.001, scores=True),
        "LabelMe of COCO": Format("coco_to_labelme"),
        "COCO of LabelMe": Format("coco_of_labelme"),
        "YOLO of COCO": Format("yolo"),
    },
    "datumaro==1.13.12": {  # which rounds each corner when a box is made
        "COCO, 2 decimals": Format("coco_instances", HUNDREDTH),
        "YOLO, 2 decimals": Format("yolo", HUNDREDTH + of_decimals(6)),
        "YOLO of ultralytics, 2 decimals": Format("yolo_ultralytics", HUNDREDTH + of_decimals(6)),
        "Pascal VOC, 2 decimals": Format("voc_detection", HUNDREDTH),
        "CVAT, 2 decimals": Format("cvat", HUNDREDTH),
    },
}
TIFFFILE = "tifffile==2026.3.3"
BESIDE = {TIFFFILE: ["imagecodecs==2026.3.6"]}  # what a tool does not install by itself
BOXES = (
    f"{len(SIZES)} frames of 8 and 16 bit in two folders, up to 641 px wide, one of them without a box; {PER_FRAME} "
    "boxes of fractions of a px in each of the others, four of which touch an edge; names with blanks and letters "
    "beyond ASCII. The difference is the largest of any edge, in px; the bound is what the tool's format itself loses: "
    "half a px where it rounds to whole px, up to 2 px where it cuts off both corner and size, 0.75 units of the last "
    "decimal times the longest side where it has a centre and a size."
)
PIXELS = (
    "Frames of 80x48 px that tifffile wrote, read pixel by pixel; what the file declares as missing is expected as "
    "NaN, and orientations upright. int16 is read with a radiometry of 0.01 degC per count."
)
BOX_HEADS = ("tool", "format", "boxes", "read", "difference", "bound", "labels", "scores", "frames", "noted", "equal")
PIXEL_HEADS = ("tool", "frame", "read as", "size, px", "missing", "differing", "noted", "equal")


def make_set(root: Path) -> dict[str, Any]:
    """Writes frames of 8 and 16 bit, and boxes in fractions of a px of which four in each frame touch its edges."""
    rng, frames = np.random.default_rng(0), []
    for number, (file, (width, height)) in enumerate(SIZES.items()):
        dtype = np.uint16 if number % 2 else np.uint8
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, np.iinfo(dtype).max, (height, width), dtype=dtype)).save(root / file)
        boxes = [] if file == EMPTY else list(make_boxes(rng, width, height))
        frames.append({"file": file, "width": width, "height": height, "boxes": boxes})
    made = {"labels": list(LABELS), "frames": frames}
    (root / "truth.json").write_text(json.dumps(made), encoding="utf-8")
    return made


def make_boxes(rng: np.random.Generator, width: int, height: int) -> Iterator[dict[str, Any]]:
    """Yields boxes of 4 to 25 px: at the left, upper, right and lower edge, and inside."""
    for number in range(PER_FRAME):
        w, h = (float(side) for side in rng.uniform(4, 25, 2))
        x, y = float(rng.uniform(0, width - w)), float(rng.uniform(0, height - h))
        x = 0.0 if number == 0 else width - w if number == 2 else x
        y = 0.0 if number == 1 else height - h if number == 3 else y
        box = {"x": x, "y": y, "width": w, "height": h}
        yield {**box, "label": LABELS[number % len(LABELS)], "score": round(float(rng.uniform(0.1, 1)), 3)}


def read(folder: Path, form: Format) -> Reading:
    """Reads a format as a user does: by its path, or by a config."""
    if form.source is None:
        return read_source(folder / form.place)
    config = {**form.source, "init_args": {"root": str(folder / form.place), **form.source["init_args"]}}
    file = folder / f"{form.place}.yaml"
    file.write_text(json.dumps({"source": config}), encoding="utf-8")
    return read_source(file)


class Compared(NamedTuple):
    """What became of the boxes."""

    boxes: int  # read
    largest: float  # difference of an edge, px
    labels: bool
    scores: bool
    frames: bool  # those that were read are those of the set, also without a box


def edges(table: pd.DataFrame) -> np.ndarray:
    """Left, top, right and bottom edges, (N, 4)."""
    x, y, width, height = (table[name].to_numpy(float) for name in ("x", "y", "width", "height"))
    return np.stack([x, y, x + width, y + height], axis=1)


def compare(made: dict[str, Any], reading: Reading) -> Compared:
    """Compares each box of the set with the nearest one that was read of its frame."""
    largest, labels, scores = 0.0, True, True
    names = reading.table["frame"].map(lambda path: Path(path).name)
    for frame in made["frames"]:
        found = reading.table[names == Path(frame["file"]).name]
        true = pd.DataFrame(frame["boxes"])
        if len(found) != len(true):
            return Compared(len(reading.table), math.nan, False, False, False)
        if not len(true):
            continue
        apart = np.abs(edges(true)[:, None] - edges(found)[None]).max(axis=-1)  # (true, found)
        nearest = apart.argmin(axis=1)
        one_each = len(set(nearest.tolist())) == len(true)
        largest = max(largest, float(apart.min(axis=1).max())) if one_each else math.nan
        same = found.iloc[nearest]
        labels &= same["label"].tolist() == true["label"].tolist()
        scores &= "score" in same and bool(np.allclose(same["score"].to_numpy(float), true["score"], atol=1e-6))
    kept = sorted(Path(path).name for path in reading.frames["frame"])
    expected = sorted(Path(frame["file"]).name for frame in made["frames"])
    return Compared(len(reading.table), largest, labels, scores, kept == expected)


def box_row(name: str, form: Format, folder: Path, made: dict[str, Any]) -> tuple[str, ...]:
    """What became of one format; the last cell says whether it is equal."""
    written = sum(len(frame["boxes"]) for frame in made["frames"])
    try:
        reading = read(folder, form)
    except ValueError as error:
        return (name, written, 0, "", "", "", "", "", f"refused: {error}", "NO")
    seen, report = compare(made, reading), reading.report
    equal = seen.boxes == written and seen.largest <= form.bound and seen.labels and seen.frames
    noted = [f"{number} {reason}" for reason, number in (*report.skipped.items(), *report.changed.items())]
    return (
        name,
        written,
        seen.boxes,
        f"{seen.largest:.3g}",
        f"{form.bound:.3g}",
        yes(seen.labels),
        yes(seen.scores) if form.scores else "none",
        yes(seen.frames),
        "; ".join([*noted, *report.warnings]) or "nothing",
        yes(equal and (seen.scores or not form.scores)),
    )


def pixel_row(file: Path) -> tuple[str, ...]:
    """How the pixels of one frame were read, also the missing ones; the last cell says whether they are equal."""
    true = np.load(file.with_suffix(".npy"))
    stored = str(true.dtype)
    radiometry = Radiometry(gain=0.01, offset=0.0) if stored == "int16" else None
    frame = read_frame(file, radiometry)
    if radiometry:
        true = (true / 100).astype(np.float32)
    pixels = np.asarray(frame.pixels[:])
    size = f"{true.shape[1]}x{true.shape[0]}"
    missing = int(np.isnan(true).sum())
    if pixels.shape != true.shape:
        return (file.stem, f"{frame.unit}, {pixels.dtype}", f"{size}, not {pixels.shape}", missing, "", "", "NO")
    tolerance = 1e-5 if radiometry else 0  # degC; a product of float32
    differing = int((~np.isclose(pixels, true, rtol=0, atol=tolerance, equal_nan=True)).sum())
    noted = "; ".join(frame.notes) or "nothing"
    return (file.stem, f"{frame.unit}, {pixels.dtype}", size, missing, differing, noted, yes(not differing))


def yes(fact: bool) -> str:
    return "yes" if fact else "NO"


def rows(tools: Sequence[str], work: Path, made: dict[str, Any], equal: list[bool]) -> Iterator[tuple[str, ...]]:
    """Yields a row for each format of each tool, or frame of tifffile, and notes whether it is equal."""
    for tool in tools:
        name, folder = tool.split("==")[0], work / tool
        run_tool(
            [tool, *BESIDE.get(tool, [])],
            WRITERS / f"write_{name.replace('-', '_')}.py",
            work / "set" / "truth.json",
            folder,
        )
        frames = sorted(folder.glob("*.tif"))
        for cells in (
            *map(pixel_row, frames),
            *(box_row(*each, folder, made) for each in FORMATS.get(tool, {}).items()),
        ):
            equal.append(cells[-1] == "yes")
            yield (tool.replace("==", " "), *cells)


def main() -> None:
    parser = options(__doc__)
    tools = (*FORMATS, TIFFFILE)
    parser.add_argument("--only", choices=[tool.split("==")[0] for tool in tools], help="one tool in place of all")
    args = parser.parse_args()
    chosen = [tool for tool in tools if args.only in (None, tool.split("==")[0])]
    equal: list[bool] = []
    with (
        Result(__file__, "Files of real tools, read box by box", PACKAGES, args) as result,
        tempfile.TemporaryDirectory() as folder,
    ):
        work = Path(folder)
        made = make_set(work / "set")
        if boxes := [tool for tool in chosen if tool in FORMATS]:
            result.text(BOXES)
            result.table(BOX_HEADS, rows(boxes, work, made, equal), texts=2)
        if TIFFFILE in chosen:
            result.text(PIXELS)
            result.table(PIXEL_HEADS, rows([TIFFFILE], work, made, equal), texts=3)
        result.text(f"{sum(equal)} of {len(equal)} are equal.")
    if not all(equal):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
