"""Lets label-studio-sdk write the made-up data set from tasks as a project exports them, and import it from YOLO."""

import json
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import quote

from label_studio_sdk.converter import Converter
from label_studio_sdk.converter.imports.yolo import convert_yolo_to_ls

from made_set import FRAMES, LABELS, OUT, copy_frames

CONFIG = (
    '<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image">'
    + "".join(f'<Label value="{label}"/>' for label in LABELS)
    + "</RectangleLabels></View>"
)


def region(frame: dict[str, Any], box: dict[str, Any], number: int) -> dict[str, Any]:
    """A box in percent of its frame, as the labelling page stores it."""
    across, down = 100 / frame["width"], 100 / frame["height"]
    sides = {
        "x": box["x"] * across,
        "y": box["y"] * down,
        "width": box["width"] * across,
        "height": box["height"] * down,
    }
    return {
        "id": f"r{number}",
        "type": "rectanglelabels",
        "from_name": "label",
        "to_name": "image",
        "image_rotation": 0,
        "original_width": frame["width"],
        "original_height": frame["height"],
        "value": {**sides, "rotation": 0, "rectanglelabels": [box["label"]]},
    }


def tasks(address: str, flat: bool) -> str:
    """The project as JSON; frames were uploaded (flat names), or lie in a folder that the server reads."""
    found = []
    for number, frame in enumerate(FRAMES, start=1):
        name = Path(frame["file"]).name if flat else quote(frame["file"])
        annotation = {
            "id": number,
            "completed_by": 1,
            "was_cancelled": False,
            "created_at": "2025-01-01T00:00:00Z",
            "result": [region(frame, box, n) for n, box in enumerate(frame["boxes"])],
        }
        task = {"id": number, "data": {"image": address + name}, "annotations": [annotation], "predictions": []}
        found.append(task)
    return json.dumps(found)


copy_frames(OUT / "upload" / "1", flat=True)
(OUT / "tasks").mkdir()
uploaded, local = OUT / "tasks" / "uploaded.json", OUT / "tasks" / "local.json"
uploaded.write_text(tasks("/data/upload/1/", flat=True), encoding="utf-8")
local.write_text(tasks("/data/local-files/?d=", flat=False), encoding="utf-8")
converter = Converter(CONFIG, str(OUT), upload_dir=str(OUT / "upload"), download_resources=True)
copy_frames(OUT / "json_uploaded", flat=True)
converter.convert_to_json(str(uploaded), str(OUT / "json_uploaded"), is_dir=False)
copy_frames(OUT / "json_local")
converter.convert_to_json(str(local), str(OUT / "json_local"), is_dir=False)
converter.convert_to_coco(str(uploaded), str(OUT / "coco"), is_dir=False)
converter.convert_to_voc(str(uploaded), str(OUT / "voc"), is_dir=False)
converter.convert_to_yolo(str(uploaded), str(OUT / "yolo"), is_dir=False)
converter.convert_to_yolo(str(uploaded), str(OUT / "yolo_obb"), is_dir=False, is_obb=True)
shutil.copytree(OUT / "yolo", OUT / "json_imported")
convert_yolo_to_ls(str(OUT / "json_imported"), str(OUT / "json_imported" / "tasks.json"))
for file in (OUT / "json_imported").rglob("*.txt"):  # what remains are the tasks and the frames
    file.unlink()
(OUT / "json_imported" / "notes.json").unlink()
