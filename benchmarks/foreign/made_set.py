"""What the writers of this folder share: the made-up data set, as `foreign_files.py` has written it.

They run in a tool's own environment, without the package: `python write_TOOL.py TRUTH OUT`.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

TRUTH = Path(sys.argv[1])
OUT = Path(sys.argv[2])
ROOT = TRUTH.parent  # the frames' names are relative to it
SET: dict[str, Any] = json.loads(TRUTH.read_text(encoding="utf-8"))
LABELS: list[str] = SET["labels"]
FRAMES: list[dict[str, Any]] = SET["frames"]  # file, width, height, boxes of x, y, width, height, label, score


def copy_frames(folder: Path, flat: bool = False) -> None:
    """Copies the frames, as a user does where the tool writes none; with or without their folders."""
    for frame in FRAMES:
        place = folder / (Path(frame["file"]).name if flat else frame["file"])
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / frame["file"], place)


def corners(box: dict[str, Any]) -> list[float]:
    """Left, top, right and bottom edge, px."""
    return [box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"]]
