"""FLIR radiometric JPEG: temperatures against a forward model, the byte orders, and the files of real cameras."""

from pathlib import Path

import numpy as np
import pytest

from dml_lightning.data.crops import CropOptions, cut_frame
from dml_lightning.data.pixels import FrameError, frame_size, read_frame

from .writing import CAMERA, counts_of, flir_jpeg

SHARED = Path(__file__).resolve().parents[3] / ".." / "shared" / "data" / "radiometric"
RNG = np.random.default_rng(0)
CELSIUS = RNG.uniform(-5, 40, (12, 16))
COUNTS = np.vectorize(counts_of)(CELSIUS).round().astype(np.uint16)
PICTURE = RNG.integers(0, 255, (24, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("png", [True, False])
@pytest.mark.parametrize("order", ["<", ">"])
def test_temperatures_are_those_of_the_forward_model(tmp_path: Path, order: str, png: bool) -> None:
    step = (counts_of(10.5) - counts_of(9.5)) / 1  # counts per K
    assert step > 20
    path = tmp_path / "a.jpg"
    path.write_bytes(flir_jpeg(COUNTS, PICTURE, order=order, png=png, part=100))
    frame = read_frame(path)
    assert frame.unit == "degC"
    assert frame.pixels.dtype == np.float32
    np.testing.assert_allclose(frame.pixels, CELSIUS, atol=0.05)  # half a count


def test_boxes_drawn_on_the_larger_picture_are_scaled(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(flir_jpeg(COUNTS, PICTURE))
    frame = read_frame(path)
    assert frame.size == frame_size(path) == (32, 24)
    assert frame.pixels.shape == (12, 16)
    np.testing.assert_array_equal(frame.on_pixels(np.array([[10.0, 4, 6, 8]])), [[5, 2, 3, 4]])
    options = CropOptions(crop_size=4, min_side=4, context=0)
    patches, _ = cut_frame(frame, np.array([[10.0, 6, 8, 8]]), options, "a.jpg")
    np.testing.assert_allclose(patches[0, 1:5, 1:5], frame.pixels[3:7, 5:9], atol=1e-4)
    with pytest.raises(FrameError, match="outside the 32x24 px frame"):
        cut_frame(frame, np.array([[32.0, 0, 5, 5]]), options, "a.jpg")


def test_the_raw_frame_is_turned_with_its_picture(tmp_path: Path) -> None:
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    path = tmp_path / "a.jpg"
    path.write_bytes(flir_jpeg(COUNTS, PICTURE, exif=exif))
    frame = read_frame(path)
    assert frame.size == frame_size(path) == (24, 32)
    np.testing.assert_allclose(frame.pixels, np.rot90(CELSIUS, -1), atol=0.05)


def test_a_radiometry_is_not_for_temperatures(tmp_path: Path) -> None:
    from dml_lightning.data.pixels import Radiometry

    path = tmp_path / "a.jpg"
    path.write_bytes(flir_jpeg(COUNTS, PICTURE))
    np.testing.assert_array_equal(read_frame(path, Radiometry(0.01, 0)).pixels, read_frame(path).pixels)


def damaged(content: bytes, old: bytes, new: bytes) -> bytes:
    assert old in content
    return content.replace(old, new, 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (damaged(flir_jpeg(COUNTS, PICTURE, part=900), b"FLIR\0\1\1", b"FLIR\0\1\7"), r"parts \[0, 7\].*missing"),
        (flir_jpeg(COUNTS, PICTURE, camera=CAMERA | {"emissivity": 0.0}), r"no numbers of a camera \(emissivity\)"),
        (flir_jpeg(COUNTS, PICTURE, camera=CAMERA | {"b": float("nan")}), r"no numbers of a camera \(b\)"),
        (damaged(flir_jpeg(COUNTS, PICTURE), b"FFF\0", b"FFF\0"[:3] + b"\1")[:300], "damaged|cannot be read"),
    ],
)
def test_damaged_data_are_refused_and_no_preview_taken(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(FrameError, match=message):
        read_frame(tmp_path / "a.jpg")


def test_counts_that_no_temperature_makes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(flir_jpeg(np.where(COUNTS.min() < COUNTS, COUNTS, 0), PICTURE))
    with pytest.raises(FrameError, match=r"a\.jpg: .* of 192 pixels are (NaN|below)"):
        read_frame(tmp_path / "a.jpg")


def test_a_picture_of_another_shape_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(flir_jpeg(COUNTS, PICTURE[:, :30]))
    with pytest.raises(FrameError, match="picture of 30x24 px is no enlargement of its 16x12 temperatures"):
        read_frame(tmp_path / "a.jpg")


@pytest.mark.parametrize(
    ("name", "values", "shape", "size"),
    [
        ("four_ducks_flir_i7", (7.21, 8.92, 23.24), (120, 120), (240, 240)),
        ("dji_xt2_flir", (21.46, 31.59, 82.92), (512, 640), (640, 512)),
        ("flir_e40", (17.88, 21.01, 24.70), (120, 160), (320, 240)),
    ],
)
def test_real_cameras(name: str, values: tuple[float, ...], shape: tuple[int, int], size: tuple[int, int]) -> None:
    path = SHARED / f"{name}.jpg"
    if not path.exists():
        pytest.skip("the real radiometric files are not on this machine")
    frame = read_frame(path)
    pixels = np.asarray(frame.pixels)
    np.testing.assert_allclose((pixels.min(), np.median(pixels), pixels.max()), values, atol=0.006)
    assert pixels.shape == shape
    assert frame.size == frame_size(path) == size
    if name == "four_ducks_flir_i7":
        np.testing.assert_allclose(pixels, np.load(SHARED / "four_ducks_celsius.npy"), atol=1e-4)
