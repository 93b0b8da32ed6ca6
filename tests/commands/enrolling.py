"""Enrolling and predicting, as the command line does it."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile

from dml_lightning.cli import main
from dml_lightning.gallery.summary import EnrolledSpecies

NEW = "tundra_swan"


def table_of(boxes: pd.DataFrame, path: Path) -> Path:
    """Boxes as a CSV table beside absolute paths of their frames."""
    boxes.to_csv(path, index=False)
    return path


def predictions(run: Path, flights: Path, out: Path) -> pd.DataFrame:
    data = f"--data={flights}/annotations.json"
    return pd.read_csv(main(["predict", f"--run={run}", data, f"--out={out}"]))


def enroll(run: Path, crops: Path, *more: str, label: str = NEW) -> EnrolledSpecies:
    return main(["enroll", f"--run={run}", f"--crops={crops}", f"--label={label}", *more])


def flown(folder: Path, flights: dict[str, list[list[float]]], scores: bool = False) -> Path:
    """A COCO set of one frame per flight with boxes (x, y, score), and of one unreadable frame."""
    images, boxes = [], []
    for number, (flight, given) in enumerate(flights.items()):
        (folder / flight).mkdir(parents=True)
        pixels = np.random.default_rng(number).integers(28_000, 28_400, (96, 128)).astype(np.uint16)
        tifffile.imwrite(folder / flight / "0.tiff", pixels)
        images.append({"id": number, "file_name": f"{flight}/0.tiff"})
        for x, y, score in given:
            box = {"id": len(boxes), "image_id": number, "category_id": 1, "bbox": [x, y, 9, 9]}
            boxes.append(box | ({"score": score} if scores else {}))
    images.append({"id": 99, "file_name": "lost/0.tiff"})
    content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "bird"}]}
    (folder / "boxes.json").write_text(json.dumps(content))
    return folder / "boxes.json"
