"""Pixels of one frame: exact values, the unit, and one clear sentence for every file that cannot be used."""

import io
import logging
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageFile

from dml_lightning.data.frames import FrameError, Radiometry, frame_size, read_frame
from tests.data.sources.making import needs

from .writing import assert_exact, write

RNG = np.random.default_rng(0)
GREY8 = RNG.integers(0, 256, (12, 17), dtype=np.uint8)
GREY16 = RNG.integers(0, 65536, (12, 17), dtype=np.uint16)
SMOOTH8 = np.add.outer(np.arange(64), np.arange(48)).astype(np.uint8)  # survives JPEG nearly unchanged


@pytest.mark.parametrize("pixels", [GREY8, GREY16], ids=["8-bit", "16-bit"])
@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_single_channel_is_exact(tmp_path: Path, pixels: np.ndarray, suffix: str) -> None:
    path = write(tmp_path / f"a.{suffix}", pixels)
    assert_exact(read_frame(path), pixels)
    assert frame_size(path) == (17, 12)


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "zlib"},
        {"compression": "lzw"},
        {"byteorder": ">"},
        {"bigtiff": True},
        {"tile": (16, 16)},
        {"rowsperstrip": 5},
    ],
    ids=str,
)
def test_tiff_variants_are_exact(tmp_path: Path, options: dict[str, object]) -> None:
    path = write(tmp_path / "a.tif", GREY16, **options)
    assert_exact(read_frame(path), GREY16)
    assert frame_size(path) == (17, 12)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pixels=arrays.arrays(st.sampled_from([np.uint8, np.uint16]), arrays.array_shapes(min_dims=2, max_dims=2)),
    suffix=st.sampled_from(["tif", "png"]),
)
def test_any_counts_survive(tmp_path: Path, pixels: np.ndarray, suffix: str) -> None:
    assert_exact(read_frame(write(tmp_path / f"a.{suffix}", pixels)), pixels)


@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_three_equal_channels_become_one(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a.{suffix}", np.stack([GREY8] * 3, axis=-1))
    assert_exact(read_frame(path), GREY8)


def test_planar_tiff_becomes_one(tmp_path: Path) -> None:
    options = {"photometric": "rgb", "planarconfig": "separate"}
    path = write(tmp_path / "a.tif", np.stack([GREY16] * 3), **options)
    assert_exact(read_frame(path), GREY16)


def test_grey_palette_tiff_is_grey(tmp_path: Path) -> None:
    colormap = np.stack([np.arange(256, dtype=np.uint16)[::-1] * 257] * 3)
    path = write(tmp_path / "a.tif", GREY8, photometric="palette", colormap=colormap)
    assert_exact(read_frame(path), 255 - GREY8)


def test_coloured_palette_is_refused(tmp_path: Path) -> None:
    colormap = np.stack([np.arange(256, dtype=np.uint16) * factor for factor in (257, 128, 0)])
    path = write(tmp_path / "a.tif", GREY8, photometric="palette", colormap=colormap)
    with pytest.raises(FrameError, match="palette preview"):
        read_frame(path)


def test_white_is_zero_is_inverted_at_8_bit_and_kept_at_16(tmp_path: Path) -> None:
    """A picture is shown black on white; counts are what the camera stored, as every other reader has them."""
    picture = read_frame(write(tmp_path / "a.tif", GREY8, photometric="miniswhite"))
    assert_exact(picture, 255 - GREY8)
    assert picture.notes == ()
    counts = read_frame(write(tmp_path / "b.tif", GREY16, photometric="miniswhite"))
    assert_exact(counts, GREY16)
    assert counts.notes == ("16-bit TIFF with WhiteIsZero: its counts are kept as they are stored",)


def test_grey_jpeg(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jpg", SMOOTH8, quality=95)
    frame = read_frame(path)
    assert_exact(frame, np.asarray(Image.open(path)))
    assert np.abs(frame.pixels.astype(int) - SMOOTH8).max() <= 3
    assert frame_size(path) == (48, 64)


def test_jpeg_with_rounded_chroma_is_grey(tmp_path: Path) -> None:
    pixels = np.stack([SMOOTH8] * 3, axis=-1)
    pixels[..., 2] += 4  # a slight cast, as chroma quantisation leaves it
    path = write(tmp_path / "a.jpg", pixels, quality=95)
    stored = np.asarray(Image.open(path)).astype(int)
    assert 2 < np.ptp(stored, axis=-1).max() <= 8
    weights = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601 luma
    np.testing.assert_allclose(read_frame(path).pixels, stored @ weights, atol=0.51)


@pytest.mark.parametrize("suffix", ["tif", "png", "jpg"])
def test_colour_is_refused(tmp_path: Path, suffix: str) -> None:
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[..., 0] = 200
    path = write(tmp_path / f"a.{suffix}", pixels)
    with pytest.raises(FrameError, match=r"colour picture, perhaps the palette preview .*R-JPEG"):
        read_frame(path)
    assert frame_size(path) == (16, 16)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floating_point_tiff_is_celsius(tmp_path: Path, dtype: type) -> None:
    celsius = RNG.normal(8, 3, (12, 17)).astype(dtype)
    path = write(tmp_path / "a.tif", celsius)
    expected = celsius.astype(np.float32)
    assert_exact(read_frame(path), expected, "degC")
    # A radiometry is for counts: temperatures stay as they are.
    assert_exact(read_frame(path, Radiometry(0.01, -273.15)), expected, "degC")


@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_radiometry_makes_celsius(tmp_path: Path, suffix: str) -> None:
    counts = np.array([[27315, 28315], [28165, 30000]], np.uint16)
    frame = read_frame(write(tmp_path / f"a.{suffix}", counts), Radiometry(0.01, -273.15))
    expected = np.array([[0.0, 10.0], [8.5, 26.85]], np.float32)
    assert frame.unit == "degC"
    assert frame.pixels.dtype == np.float32
    np.testing.assert_allclose(frame.pixels, expected, atol=1e-5)


def test_radiometry_below_absolute_zero_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", GREY8)
    with pytest.raises(FrameError, match="below absolute zero"):
        read_frame(path, Radiometry(0.01, -400.0))


@pytest.mark.parametrize(("gain", "offset"), [(0.0, 1.0), (float("nan"), 0.0), (1.0, float("inf"))])
def test_radiometry_checks_its_numbers(gain: float, offset: float) -> None:
    with pytest.raises(ValueError, match="Radiometry got gain"):
        Radiometry(gain, offset)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite_pixels_are_counted(tmp_path: Path, value: float) -> None:
    celsius = np.full((10, 10), 8.5, np.float32)
    celsius[2, 3:6] = value
    path = write(tmp_path / "a.tif", celsius)
    with pytest.raises(FrameError, match=r"a\.tif: 3 of 100 pixels are NaN or infinite; fill them"):
        read_frame(path)
    with pytest.raises(FrameError, match="3 of 100 pixels are NaN"):
        read_frame(write(tmp_path / "b.tif", np.stack([celsius] * 3, -1), photometric="rgb"))


def test_no_data_value_is_refused(tmp_path: Path) -> None:
    celsius = np.full((10, 10), 8.5, np.float32)
    celsius[0, :4] = -9999
    with pytest.raises(FrameError, match=r"4 of 100 pixels are below absolute zero \(lowest -9999"):
        read_frame(write(tmp_path / "a.tif", celsius))


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.uint32, np.uint64, np.bool_])
def test_other_number_types_are_refused(tmp_path: Path, dtype: type) -> None:
    path = write(tmp_path / "a.tif", np.ones((8, 8), dtype), photometric="minisblack")
    with pytest.raises(FrameError, match=rf"a\.tif: the pixels are {np.dtype(dtype)}; 8-bit"):
        read_frame(path)


def test_other_modes_are_refused(tmp_path: Path) -> None:
    Image.fromarray(GREY8).convert("CMYK").save(tmp_path / "a.jpg")
    with pytest.raises(FrameError, match=r"a\.jpg: the picture has the mode CMYK"):
        read_frame(tmp_path / "a.jpg")


def test_five_channels_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", np.zeros((8, 9, 5), np.uint8), planarconfig="contig")
    with pytest.raises(FrameError, match=r"the pixels have the shape \(8, 9, 5\)"):
        read_frame(path)


@pytest.mark.parametrize("reader", [read_frame, frame_size])
class TestUnusableFiles:
    def test_missing(self, tmp_path: Path, reader: object) -> None:
        with pytest.raises(FrameError, match=r"no\.tif: there is no such file"):
            reader(tmp_path / "no.tif")

    def test_folder(self, tmp_path: Path, reader: object) -> None:
        with pytest.raises(FrameError, match="cannot be opened"):
            reader(tmp_path)

    def test_empty(self, tmp_path: Path, reader: object) -> None:
        (tmp_path / "a.tif").touch()
        with pytest.raises(FrameError, match=r"a\.tif: the file is empty; 8-bit or 16-bit grey"):
            reader(tmp_path / "a.tif")

    def test_another_kind(self, tmp_path: Path, reader: object) -> None:
        (tmp_path / "a.tif").write_bytes(b"GIF89a and more")
        with pytest.raises(FrameError, match=r"this is no TIFF, PNG or JPEG \(it starts with b'GIF8"):
            reader(tmp_path / "a.tif")

    @pytest.mark.parametrize("suffix", ["tif", "png", "jpg"])
    def test_only_a_signature(self, tmp_path: Path, reader: object, suffix: str) -> None:
        whole = write(tmp_path / f"a.{suffix}", GREY8).read_bytes()
        (tmp_path / f"b.{suffix}").write_bytes(whole[:8])
        with pytest.raises(FrameError, match=rf"b\.{suffix}: the file is damaged or truncated"):
            reader(tmp_path / f"b.{suffix}")

    def test_several_pages(self, tmp_path: Path, reader: object) -> None:
        path = write(tmp_path / "a.tif", np.stack([GREY8] * 4), photometric="minisblack")
        with pytest.raises(FrameError, match="the file holds 4 pages; a frame is one page"):
            reader(path)


def test_a_thumbnail_page_is_no_second_frame(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        tiff.write(GREY16)
        tiff.write(GREY16[::2, ::2].copy(), subfiletype=1)
    assert_exact(read_frame(tmp_path / "a.tif"), GREY16)


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        ("tif", {}),
        ("tif", {"compression": "lzw"}),
        ("tif", {"rowsperstrip": 8, "compression": "zlib"}),
        ("png", {}),
        ("jpg", {"quality": 95}),
        ("jpg", {"quality": 95, "progressive": True}),
    ],
    ids=str,
)
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9, 0.98])
def test_truncated_files_raise(tmp_path: Path, suffix: str, options: dict[str, object], kept: float) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (64, 64), dtype=np.uint8)
    whole = write(tmp_path / f"a.{suffix}", pixels, **options).read_bytes()
    (tmp_path / f"b.{suffix}").write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(FrameError, match=rf"b\.{suffix}: the file is (damaged or )?truncated") as error:
        read_frame(tmp_path / f"b.{suffix}")
    assert "\n" not in str(error.value)
    assert str(error.value).count("b." + suffix) == 1


def test_missing_strips_raise(tmp_path: Path) -> None:
    """A sparse TIFF: decoders fill strips of no bytes with zeros."""
    path = write(tmp_path / "a.tif", GREY8)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tiff.pages[0].tags["StripByteCounts"].overwrite(0)
    with pytest.raises(FrameError, match="the file is truncated"):
        read_frame(path)


def test_truncated_jpeg_raises_though_pillow_was_told_to_accept_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    noise = np.random.default_rng(1).integers(0, 256, (64, 64), dtype=np.uint8)
    whole = write(tmp_path / "a.jpg", noise).read_bytes()
    (tmp_path / "b.jpg").write_bytes(whole[: int(0.9 * len(whole))])
    with Image.open(tmp_path / "b.jpg") as picture:
        picture.load()  # grey where nothing came
    with pytest.raises(FrameError, match="truncated"):
        read_frame(tmp_path / "b.jpg")
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True  # put back


def test_decoders_neither_log_nor_warn(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "a.tif", GREY8)
    with tifffile.TiffFile(path) as tiff:
        entry = tiff.pages[0].tags["Software"].offset
    content = bytearray(path.read_bytes())
    content[entry + 8 : entry + 12] = struct.pack("<I", 10**6)  # a text that ends behind the file
    path.write_bytes(content)
    with tifffile.TiffFile(path) as tiff:
        assert tiff.pages[0].tags
    assert caplog.records, "this file must make tifffile complain"
    caplog.clear()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert_exact(read_frame(path), GREY8)
    assert not seen
    assert not caplog.records
    assert capfd.readouterr().out == ""
    assert not logging.getLogger("tifffile").disabled  # put back


def test_bomb_warning_does_not_leak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.png", GREY8)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", GREY8.size - 1)  # warns above, raises above twice
    assert_exact(read_frame(path), GREY8)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", GREY8.size // 3)
    with pytest.raises(FrameError, match=r"a\.png: the file is damaged"):
        read_frame(path)


def test_kind_follows_from_the_bytes_not_the_name(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(GREY16).save(stream, "PNG")
    (tmp_path / "a.TIF").write_bytes(stream.getvalue())
    assert_exact(read_frame(str(tmp_path / "a.TIF")), GREY16)


def test_frame_size_reads_no_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [write(tmp_path / f"a.{suffix}", GREY8) for suffix in ("tif", "png", "jpg")]

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", refuse)
    monkeypatch.setattr(tifffile.TiffPage, "asarray", refuse)
    assert [frame_size(path) for path in paths] == [(17, 12)] * 3


def test_real_temperatures_through_a_tiff(tmp_path: Path) -> None:
    celsius = np.load(needs("radiometric/four_ducks_celsius.npy"))
    assert_exact(read_frame(write(tmp_path / "ducks.tif", celsius)), celsius, "degC")


def test_real_colour_jpegs_of_grey_frames_are_read() -> None:
    paths = sorted(needs("thermal_cheetah").glob("*/images/*.jpg"))[:20]
    assert len(paths) == 20
    for path in paths:
        frame = read_frame(path)
        assert frame.pixels.shape == (640, 640)
        assert np.abs(frame.pixels - np.asarray(Image.open(path)).mean(-1)).max() < 8
