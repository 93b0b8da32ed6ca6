"""Lets datumaro write the made-up data set, its frames with it."""

from itertools import count
from pathlib import Path

from datumaro.components.annotation import Bbox
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image

from made_set import FRAMES, LABELS, OUT, ROOT


def items() -> list[DatasetItem]:
    """The frames, each flight as a subset."""
    numbers = count(1)
    return [
        DatasetItem(
            id=str(Path(frame["file"]).with_suffix("")),
            subset="train" if frame["file"].startswith("flight 1") else "val",
            media=Image.from_file(str(ROOT / frame["file"])),
            annotations=[
                Bbox(
                    *(box[side] for side in ("x", "y", "width", "height")), label=LABELS.index(box["label"]), id=number
                )
                for box, number in zip(frame["boxes"], numbers)  # noqa: B905 (numbers have no end)
            ],
        )
        for frame in FRAMES
    ]


for name in ("coco_instances", "yolo", "yolo_ultralytics", "voc_detection", "cvat"):
    Dataset.from_iterable(items(), categories=LABELS).export(str(OUT / name), name, save_media=True)
