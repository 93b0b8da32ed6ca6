"""What several tests of this folder start from: images, flights of frames, and boxes in them."""

from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
import torch
from PIL import Image
from torch import Tensor

from dml_lightning.data.table import BOX_COLUMNS, READER_COLUMNS


def images(*shape: int, seed: int = 0) -> Tensor:
    """Draws standard normal pixels in float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def write_counts(path: Path, seed: int) -> None:
    """Writes a 16-bit frame of 80x64 px."""
    tifffile.imwrite(path, np.random.default_rng(seed).integers(28000, 29000, (64, 80), dtype=np.uint16))


def counts_table(folder: Path) -> pd.DataFrame:
    """Writes four 16-bit frames and returns five boxes in each, (20, 5), in mixed order."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(4):
        path = folder / f"{number}.tiff"
        write_counts(path, number)
        rows += [(str(path), *rng.uniform(1, 50, 2), *rng.uniform(2, 20, 2)) for _ in range(5)]
    table = pd.DataFrame(rows, columns=["frame", *BOX_COLUMNS])
    return table.sample(frac=1, random_state=0, ignore_index=True)


def make_frames(folder: Path, number: int, size: tuple[int, int] = (120, 100)) -> pd.DataFrame:
    """Writes black frames of (width, height) px into up to four flights; columns frame, group."""
    rows = []
    for n in range(number):
        path = folder / f"flight_{n % 4}" / f"{n:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", size).save(path)
        rows.append((str(path), f"flight_{n % 4}"))
    return pd.DataFrame(rows, columns=["frame", "group"])


def boxes_in(frames: pd.DataFrame, per_frame: int = 3, labels: tuple[str, ...] = ("duck",)) -> pd.DataFrame:
    """Draws boxes in each frame whose labels take turns, as a reader gives them."""
    rng = np.random.default_rng(0)
    rows = []
    for number, (frame, group) in enumerate(zip(frames["frame"], frames["group"], strict=True)):
        for n in range(per_frame):
            x, y = rng.uniform(0, 80, 2)
            width, height = rng.uniform(4, 14, 2)
            label = labels[(number + n) % len(labels)]
            rows.append((frame, x, y, width, height, label, group))
    return pd.DataFrame(rows, columns=list(READER_COLUMNS))


def gap(a: pd.Series, b: pd.Series) -> float:
    """Clear distance of two boxes in the direction where it is largest, px; negative if they overlap."""
    return max(a.x - (b.x + b.width), b.x - (a.x + a.width), a.y - (b.y + b.height), b.y - (a.y + a.height))
