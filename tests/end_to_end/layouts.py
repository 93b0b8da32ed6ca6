"""Small data sets in the layouts that configs/data reads: warm squares of two sizes on a noisy ground."""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

SIDE = 128  # px of a frame
SIZES = {"Person": 5, "Car": 11, "Bicycle": 7, "OtherVehicle": 14, "DontCare": 3}  # px


def frames(names: list[str], labels: list[str]) -> Iterator[tuple[str, NDArray[np.uint8], Any]]:
    """Each name with its pixels and boxes (label, x, y, side), two of every label."""
    for number, name in enumerate(names):
        rng = np.random.default_rng(number)
        pixels = rng.normal(90, 4, (SIDE, SIDE))
        cells = rng.permutation(16)[: 2 * len(labels)]
        boxes = []
        for cell, label in zip(cells, 2 * labels, strict=True):
            side = SIZES.get(label, 7)
            x, y = 32 * (cell % 4) + 8, 32 * (cell // 4) + 8
            pixels[y : y + side, x : x + side] += 60
            boxes.append((label, int(x), int(y), side))
        yield name, pixels.clip(0, 255).astype(np.uint8), boxes


def write_coco(
    file: Path,
    folder: Path,
    names: list[str],
    labels: list[str],
    name_key: str = "file_name",
    boxes_key: str = "annotations",
) -> None:
    """COCO JSON of frames in a folder, under the given keys."""
    images, annotations = [], []
    for number, (name, pixels, boxes) in enumerate(frames(names, labels)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / name)
        images.append({name_key: name, "id": number, "width": SIDE, "height": SIDE})
        annotations += [
            {"image_id": number, "bbox": [x, y, s, s], "category_id": labels.index(label)} for label, x, y, s in boxes
        ]
    annotations = [{**entry, "id": n} for n, entry in enumerate(annotations)]
    categories = [{"id": n, "name": label} for n, label in enumerate(labels)]
    file.write_text(json.dumps({"images": images, boxes_key: annotations, "categories": categories}))


def hit_uav(root: Path) -> None:
    """COCO with the keys of HIT-UAV."""
    names = [f"{n % 2}_{60 + 10 * n}_30_0_{n:05}.jpg" for n in range(8)]
    write_coco(root / "val.json", root / "JPEGImages", names, list(SIZES), "filename", "annotation")


def hu_waterfowl(root: Path) -> None:
    """The published layout, with its own spelling."""
    base = root / "01_Thermal Images and Ground Truth (used for detector training and testing)"
    pictures = base / "01_Posistive Image"
    table = base / "02_Groundtruth Label for Positive Images" / "Bounding Box Label.csv"
    pictures.mkdir(parents=True)
    table.parent.mkdir()
    rows: list[list[Any]] = [["imageFilename", "x(column)", "y(row)", "width", "height"]]
    names = [f"20180322_10{n:02}36_979_R.tif" for n in range(6)]
    for name, pixels, boxes in frames(names, ["waterfowl"] * 4):
        tifffile.imwrite(pictures / name, pixels)
        rows += [[name, x, y, 7, 7] for _, x, y, _ in boxes]
    with table.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def yolo(root: Path) -> None:
    """Roboflow's folders."""
    (root / "train" / "images").mkdir(parents=True)
    (root / "train" / "labels").mkdir()
    labels = ["Person", "Car"]
    names = [f"flight_{n // 2}_frame-{n}" for n in range(12)]
    for name, pixels, boxes in frames(names, labels):
        Image.fromarray(pixels).save(root / "train" / "images" / f"{name}.png")
        lines = [
            f"{labels.index(label)} {(x + s / 2) / SIDE} {(y + s / 2) / SIDE} {s / SIDE} {s / SIDE}"
            for label, x, y, s in boxes
        ]
        (root / "train" / "labels" / f"{name}.txt").write_text("\n".join(lines) + "\n")
    (root / "data.yaml").write_text("train: ../train/images\nnc: 2\nnames: [Person, Car]\n")


def own_csv(root: Path) -> None:
    """One table with named columns."""
    root.mkdir(parents=True)
    rows: list[list[Any]] = [["frame", "x", "y", "width", "height", "label", "flight"]]
    for number, (name, pixels, boxes) in enumerate(frames([f"{n}.png" for n in range(12)], ["Person", "Car"])):
        Image.fromarray(pixels).save(root / name)
        rows += [[name, x, y, s, s, label, f"night {number // 2}"] for label, x, y, s in boxes]
    with (root / "boxes.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def coco(root: Path) -> None:
    """One JSON file, and a folder of frames for each flight."""
    names = [f"flight_{n // 2}/{n}.png" for n in range(12)]
    write_coco(root / "annotations.json", root, names, ["Person", "Car"])


def voc(root: Path) -> None:
    """PASCAL's folders, below each a folder for each flight."""
    for name, pixels, boxes in frames([f"flight_{n // 2}/{n}" for n in range(12)], ["Person", "Car"]):
        picture, file = root / "JPEGImages" / f"{name}.png", root / "Annotations" / f"{name}.xml"
        for path in (picture, file):
            path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(picture)
        objects = "".join(
            f"<object><name>{label}</name><bndbox><xmin>{x}</xmin><ymin>{y}</ymin><xmax>{x + s}</xmax>"
            f"<ymax>{y + s}</ymax></bndbox></object>"
            for label, x, y, s in boxes
        )
        size = f"<size><width>{SIDE}</width><height>{SIDE}</height><depth>1</depth></size>"
        file.write_text(f"<annotation><filename>{picture.name}</filename>{size}{objects}</annotation>")


def omniglot(root: Path) -> None:
    """Two alphabets of four characters, each drawn by ten people, black on white."""
    rng = np.random.default_rng(0)
    for letter in range(8):
        folder = root / f"alphabet{letter % 2}" / f"character{letter // 2}"
        folder.mkdir(parents=True)
        shape = rng.random((SIDE, SIDE)) > 0.8
        for person in range(10):
            strokes = shape ^ (rng.random((SIDE, SIDE)) > 0.97)
            Image.fromarray(~strokes).save(folder / f"01_{person:02d}.png")


LAYOUTS: dict[str, Callable[[Path], None]] = {
    "hit_uav": hit_uav,
    "hu_waterfowl": hu_waterfowl,
    "yolo": yolo,
    "csv": own_csv,
    "coco": coco,
    "voc": voc,
    "omniglot": omniglot,
}
