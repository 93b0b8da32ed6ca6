"""Predictions as files of annotation tools, so that a person can correct them there, and the readers take them back."""

import json
import math
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, get_args

import pandas as pd
import yaml

from dml_lightning.data.frames import frame_size
from dml_lightning.files import replacing_folder
from dml_lightning.types import UNKNOWN, AnnotationTool

TOOLS: tuple[AnnotationTool, ...] = get_args(AnnotationTool)
COCO_FILE = "annotations.json"


class Annotations(ABC):
    """Writes the boxes of one frame after the other into a folder.

    A refused box is called "unknown"; where the tool shows more than a name, the class that it resembles stands beside
    it. Frames are not copied, except for YOLO, which looks for them in its own folder.

    Args:
        folder: Folder to write into.
        place: Folder where it will lie in the end, from which frames are named.
        flights: Flight of each frame of the data set; it is kept, so that it stays known whether it is held out.
        names: Names of the classes.
    """

    def __init__(self, folder: Path, place: Path, flights: Mapping[str, str], names: Sequence[str]) -> None:
        self.folder, self.place, self.flights = folder, place.absolute(), flights
        self.root = Path(os.path.commonpath([Path(frame).parent for frame in flights]))
        self.names = [*names, UNKNOWN]

    @abstractmethod
    def add(self, frame: str, boxes: pd.DataFrame) -> None:
        """Writes a frame and its boxes, of which there may be none.

        Args:
            frame: Path of the frame.
            boxes: Columns x, y, width, height (px), label, decision, score, p_value.
        """

    @abstractmethod
    def finish(self) -> None:
        """Writes what concerns all frames."""

    def _write(self, name: Path, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            raise ValueError(f"two frames would have the file {name}: rename one of them.")
        path.write_text(text, encoding="utf-8")

    def _relative(self, frame: str, folder: Path) -> str:
        """Path of a frame from a folder of the finished set."""
        return Path(os.path.relpath(frame, self.place / folder)).as_posix()


class LabelMeFiles(Annotations):
    """One JSON file per frame, which names the frame by its relative path.

    `labelme FRAMES/night --output predictions.labelme/night` opens them.
    """

    def add(self, frame: str, boxes: pd.DataFrame) -> None:
        """Writes the file of a frame."""
        name = Path(frame).relative_to(self.root)
        width, height = frame_size(frame)
        content: dict[str, Any] = {
            "version": "5.0.0",
            "flags": {},
            "shapes": [_shape(box) for box in boxes.to_dict("records")],
            "imagePath": self._relative(frame, name.parent),
            "flight": self.flights[frame],
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        self._write(name.with_suffix(".json"), json.dumps(content, indent=2, ensure_ascii=False))

    def finish(self) -> None:
        """Nothing concerns all frames."""


class CocoFile(Annotations):
    """One JSON file of all frames."""

    def __init__(self, folder: Path, place: Path, flights: Mapping[str, str], names: Sequence[str]) -> None:
        super().__init__(folder, place, flights, names)
        self._images: list[dict[str, Any]] = []
        self._boxes: list[dict[str, Any]] = []

    def add(self, frame: str, boxes: pd.DataFrame) -> None:
        """Notes a frame and its boxes."""
        width, height = frame_size(frame)
        image, name = len(self._images) + 1, self._relative(frame, Path())
        entry = {"id": image, "file_name": name, "width": width, "height": height, "flight": self.flights[frame]}
        self._images.append(entry)
        for box in boxes.to_dict("records"):
            sides = [box[side] for side in ("x", "y", "width", "height")]
            annotation = {
                "id": len(self._boxes) + 1,
                "image_id": image,
                "category_id": self.names.index(shown_name(box)) + 1,
                "bbox": sides,
                "area": sides[2] * sides[3],
                "iscrowd": 0,
                "attributes": {"note": _note(box)},
            }
            self._boxes.append(annotation | _score(box))

    def finish(self) -> None:
        """Writes the file."""
        categories = [{"id": number, "name": name} for number, name in enumerate(self.names, start=1)]
        content = {"images": self._images, "annotations": self._boxes, "categories": categories}
        self._write(Path(COCO_FILE), json.dumps(content, ensure_ascii=False))


class YoloFolder(Annotations):
    """A data.yaml, label files in labels/, and the frames in images/ as hard links, or copies where there are none.

    Below both stands a folder for each flight.
    """

    def add(self, frame: str, boxes: pd.DataFrame) -> None:
        """Writes the label file of a frame and links the frame."""
        name = self._name(Path(frame))
        width, height = frame_size(frame)
        lines = [" ".join(map(repr, self._row(box, width, height))) for box in boxes.to_dict("records")]
        self._write("labels" / name.with_suffix(".txt"), "".join(f"{line}\n" for line in lines))
        target = self.folder / "images" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(os.path.realpath(frame), target)  # a relative symbolic link would lead elsewhere from here
        except OSError:  # another file system, or one without hard links
            shutil.copyfile(frame, target)

    def _name(self, frame: Path) -> Path:
        """Flight and name of a frame, with its folders where another frame of the flight has that name."""
        flight = PurePosixPath(self.flights[str(frame)])
        parts = ["frames" if part == "images" else part for part in flight.parts if part not in ("/", "..")]
        name = Path(*parts, frame.name)
        taken = (self.folder / "labels" / name.with_suffix(".txt")).exists()
        return name.with_name("_".join(frame.relative_to(self.root).parts)) if taken else name

    def _row(self, box: dict[Any, Any], width: int, height: int) -> list[float]:
        """Number of the class, centre and size in fractions of the frame, and the score if there is one."""
        across, down = box["width"] / width, box["height"] / height
        values = [box["x"] / width + across / 2, box["y"] / height + down / 2, across, down]
        return [self.names.index(shown_name(box)), *values, *_score(box).values()]

    def finish(self) -> None:
        """Writes data.yaml."""
        content = {"path": ".", "train": "images", "val": "images", "names": dict(enumerate(self.names))}
        self._write(Path("data.yaml"), yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


WRITERS: dict[AnnotationTool, Callable[[Path, Path, Mapping[str, str], Sequence[str]], Annotations]] = {
    "labelme": LabelMeFiles,
    "coco": CocoFile,
    "yolo": YoloFolder,
}


def annotations_path(predictions: Path, tool: AnnotationTool) -> Path:
    """Folder of the annotations that belong to a table of predictions.

    Example:
        >>> annotations_path(Path("night/predictions.csv"), "coco").as_posix()
        'night/predictions.coco'

    Raises:
        ValueError: If there is one: it may have been corrected.
    """
    folder = predictions.with_name(f"{predictions.stem}.{tool}")
    if folder.exists():
        raise ValueError(f"{folder} exists and may hold corrections: move it away, or give --out another name.")
    return folder


@contextmanager
def writing(
    predictions: Path, tool: AnnotationTool, flights: Mapping[str, str], names: Sequence[str]
) -> Iterator[Annotations]:
    """Yields a writer whose folder appears when it is complete.

    Args:
        predictions: Table of predictions that the folder belongs to.
        tool: Format of the files.
        flights: Flight of each frame of the data set; frames that were not added have none of the boxes.
        names: Names of the classes.
    """
    place = annotations_path(predictions, tool)
    with replacing_folder(place) as folder:
        writer = WRITERS[tool](folder, place, flights, names)
        yield writer
        writer.finish()


def shown_name(box: dict[Any, Any]) -> str:
    """Name of a box that a person sees: its label, or "unknown" where it was refused.

    Example:
        >>> shown_name({"label": "mallard", "decision": "unknown"})
        'unknown'
    """
    return str(box["label"]) if box["decision"] == "known" else UNKNOWN


def _note(box: dict[Any, Any]) -> str:
    """What a person should know to correct a box."""
    p_value = "" if math.isnan(box["p_value"]) else f", p {box['p_value']:.3g}"
    return f"{box['label']}{p_value}"


def _score(box: dict[Any, Any]) -> dict[str, float]:
    return {} if math.isnan(box["score"]) else {"score": float(box["score"])}


def _shape(box: dict[Any, Any]) -> dict[str, Any]:
    left, top = box["x"], box["y"]
    return {
        "label": shown_name(box),
        "points": [[left, top], [left + box["width"], top + box["height"]]],
        "shape_type": "rectangle",
        "description": _note(box),
        "group_id": None,
        "flags": {},
    } | _score(box)
