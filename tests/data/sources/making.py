"""Small files for the tests of readers: frames of different content, texts, and the real sets where they are."""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SHARED = Path(__file__).resolve().parents[3] / ".." / "shared" / "data"
BOX = ["x", "y", "width", "height"]


def picture(path: Path, size: tuple[int, int] = (100, 80)) -> Path:
    """Writes an 8-bit frame whose pixels follow from its path, so that no two are the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(zlib.crc32(str(path).encode()))
    Image.fromarray(rng.integers(0, 256, size[::-1]).astype(np.uint8)).save(path)
    return path


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def save_json(path: Path, content: object) -> Path:
    return text(path, json.dumps(content))


def needs(name: str) -> Path:
    if not (path := SHARED / name).exists():
        pytest.skip(f"the real data set {name} is not on this machine")
    return path
