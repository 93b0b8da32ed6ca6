"""A small data set in which there is nothing to doubt, to be changed: three flights of two frames in degC, a CSV."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

WIDTH, HEIGHT = 100, 80  # px
Rows = list[dict[str, Any]]


def pixels(number: int) -> NDArray[np.float32]:
    """A frame of its own, degC."""
    return np.random.default_rng(number).normal(5, 2, (HEIGHT, WIDTH)).astype(np.float32)


def clean(root: Path) -> Rows:
    """Writes the frames; the rows are two boxes in each of them."""
    rows: Rows = []
    for number in range(6):
        name = f"flight_{number // 2}/{number}.tif"
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(root / name, pixels(number))
        for label, x in (("mallard", 10), ("teal", 40)):
            box = {"x": x, "y": 20, "width": 8, "height": 8}
            rows.append({"frame": name, **box, "label": label, "flight": f"night {number // 2}"})
    return rows


def save(root: Path, rows: Rows) -> Path:
    """Writes the table."""
    with (root / "boxes.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return root / "boxes.csv"
