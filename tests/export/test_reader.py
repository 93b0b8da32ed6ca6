"""The exported reader alone: its files import nothing of the package, and read as the package does."""

import hashlib
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dml_lightning.data import pixels
from dml_lightning.data.frames import FrameError, Radiometry, read_frame
from dml_lightning.export.reader import write_reader
from tests.data.pixels.mutations import CELSIUS, GREY8, GREY16, seeds, tiff_bytes
from tests.data.pixels.writing import gdal, jpeg_bytes

ALONE = """
import hashlib, json, sys
import numpy as np
sys.path.insert(0, sys.argv[1])
import dml_pixels
assert not [name for name in sys.modules if name.startswith(("dml_lightning", "torch"))]
for path in sys.argv[2:]:
    for radiometry in (None, dml_pixels.Radiometry(0.01, -273.15)):
        try:
            frame = dml_pixels.read_frame(path, radiometry)
            pixels = np.asarray(frame.pixels)
            digest = hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()
            print(json.dumps([digest, str(pixels.dtype), list(pixels.shape), frame.unit, frame.size, frame.notes]))
        except ValueError as error:
            print(json.dumps(str(error)))
"""


def picture(kind: str, pixels: NDArray[Any], **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def palette() -> bytes:
    stream = io.BytesIO()
    image = Image.fromarray(GREY8).convert("P")
    image.putpalette([255 - value for value in range(256) for _ in range(3)])
    image.save(stream, "PNG")
    return stream.getvalue()


def cmyk() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(GREY8).convert("CMYK").save(stream, "JPEG")
    return stream.getvalue()


def array(values: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


def files() -> dict[str, bytes]:
    colour = np.stack([GREY8, GREY8 // 2, GREY8 // 3], -1)
    holes = np.where(CELSIUS > 9, np.float32(-9999), CELSIUS)
    turned = [(274, "H", 1, 6, True)]
    return {
        **{f"seed {name}": content for name, content in seeds().items()},
        "white is zero 8": tiff_bytes(GREY8, photometric="miniswhite"),
        "white is zero 16": tiff_bytes(GREY16, photometric="miniswhite"),
        "palette": palette(),
        "two pages": tiff_bytes(np.stack([GREY16] * 2), photometric="minisblack"),
        "undeclared -9999": tiff_bytes(holes),
        "declared -9999": tiff_bytes(holes, extratags=gdal(-9999)),
        "declared, absent": tiff_bytes(GREY16, extratags=gdal(-9999)),
        "three equal": picture("PNG", np.stack([GREY8] * 3, -1)),
        "three equal tiff": tiff_bytes(np.stack([GREY16] * 3, -1), photometric="rgb"),
        "two bands": tiff_bytes(np.stack([GREY16] * 2, -1), photometric="minisblack", planarconfig="contig"),
        "colour": picture("PNG", colour),
        "colour jpeg": jpeg_bytes(colour),
        "cmyk": cmyk(),
        "gif": picture("GIF", GREY8),
        "animated": picture("PNG", GREY8, save_all=True, append_images=[Image.fromarray(GREY8[::-1].copy())]),
        "signed": tiff_bytes((GREY16 - 28000).astype(np.int16)),
        "uint32": tiff_bytes(GREY16.astype(np.uint32)),
        "uint64": tiff_bytes(GREY16.astype(np.uint64)),
        "complex": array(GREY16.astype(np.complex64)),
        "three dimensions": array(np.zeros((2, 3, 4), np.uint8)),
        "kelvin": tiff_bytes(CELSIUS + 280),
        "1e20": tiff_bytes(np.where(CELSIUS > 12, np.float32(1e20), CELSIUS)),
        "nan": tiff_bytes(np.where(CELSIUS > 12, np.float32(np.nan), CELSIUS)),
        "orientation": tiff_bytes(GREY16, extratags=turned),
        "float64": tiff_bytes(CELSIUS.astype(np.float64), byteorder=">"),
        "truncated": tiff_bytes(GREY16)[:-50],
        "empty": b"",
        "text": b"not a picture",
    }


def test_the_files_beside_the_reader_name_no_package(tmp_path: Path) -> None:
    write_reader(tmp_path)
    own_files = {f"dml_{name}" for name in ("geometry.py", "judge.py", "pixels", "scores.py")}
    assert {path.name for path in tmp_path.iterdir()} == {"score.py", *own_files}
    own = [path.name for path in (Path(pixels.__file__).parent).glob("*.py")]
    assert sorted(path.name for path in (tmp_path / "dml_pixels").iterdir()) == sorted(own)
    for path in tmp_path.rglob("*.py"):
        assert "dml_lightning" not in path.read_text(encoding="utf-8"), path


def test_the_exported_reader_reads_as_the_package(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    write_reader(folder)
    paths = []
    for number, content in enumerate(files().values()):
        paths.append(tmp_path / f"{number}.tif")  # the name says nothing
        paths[-1].write_bytes(content)
    command = [sys.executable, "-c", ALONE, str(folder), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    theirs = [json.loads(line) for line in done.stdout.splitlines()]
    ours: list[Any] = []
    for path in paths:
        for radiometry in (None, Radiometry(0.01, -273.15)):
            try:
                frame = read_frame(path, radiometry)
            except FrameError as error:
                ours.append(str(error))
                continue
            values = np.asarray(frame.pixels)
            digest = hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
            ours.append(
                [digest, str(values.dtype), list(values.shape), frame.unit, list(frame.size), list(frame.notes)]
            )
    assert theirs == ours
    assert sum(isinstance(each, list) for each in ours) > 25
    assert sum(isinstance(each, str) for each in ours) > 25
