"""Radiometric JPEG of makers whose layout is not public: refused, never read as their preview."""

from pathlib import Path

import numpy as np
import pytest

from dml_lightning.data.pixels import FrameError, frame_size, read_frame

from .writing import jpeg_bytes, with_segments

SHARED = Path(__file__).resolve().parents[3] / ".." / "shared" / "data" / "radiometric"
GREY = np.add.outer(np.arange(32), np.arange(48)).astype(np.uint8)
RAW = GREY.astype("<u2").tobytes() * 3  # 9216 bytes


def exif(maker: str = "", orientation: int = 1) -> bytes:
    from PIL import Image

    tags = Image.Exif()
    tags[274] = orientation
    if maker:
        tags[271] = maker
    return tags.tobytes()


@pytest.mark.parametrize("marker", [0xE3, 0xE4, 0xE5])
@pytest.mark.parametrize("maker", ["DJI", ""])
def test_dji_radiometric_jpeg_is_refused(tmp_path: Path, maker: str, marker: int) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(with_segments(jpeg_bytes(GREY, exif=exif(maker)), [(marker, RAW[:5000]), (marker, RAW[5000:])]))
    with pytest.raises(FrameError, match=r"as DJI writes it .*Thermal Analysis Tool or Thermal SDK to floating-point"):
        read_frame(path)
    assert frame_size(path) == (48, 32)


def test_raw_data_of_another_maker_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(with_segments(jpeg_bytes(GREY, exif=exif("Autel")), [(0xE9, RAW)]))
    with pytest.raises(FrameError, match="radiometric JPEG of Autel, whose picture is a preview without temperatures"):
        read_frame(path)


@pytest.mark.parametrize(
    "segment",
    [
        (0xE2, b"ICC_PROFILE\0" + RAW),
        (0xED, b"Photoshop 3.0\0" + RAW),
        (0xE3, RAW[:100]),
        (0xFE, RAW),
        (0xE1, b"http" + RAW),
    ],
    ids=["colour profile", "Photoshop", "small", "comment", "XMP"],
)
def test_what_editors_write_is_no_raw_frame(tmp_path: Path, segment: tuple[int, bytes]) -> None:
    plain = jpeg_bytes(GREY, quality=95)
    (tmp_path / "a.jpg").write_bytes(plain)
    (tmp_path / "b.jpg").write_bytes(with_segments(plain, [segment]))
    frame = read_frame(tmp_path / "b.jpg")
    assert frame.unit == "counts"
    np.testing.assert_array_equal(frame.pixels, read_frame(tmp_path / "a.jpg").pixels)


@pytest.mark.parametrize("name", ["H20T_DJI_0001_R.JPG", "H20N_DJI_0001_R.JPG"])
def test_real_files_of_dji(name: str) -> None:
    if not (SHARED / name).exists():
        pytest.skip("the real radiometric files are not on this machine")
    with pytest.raises(FrameError, match="radiometric JPEG of DJI as DJI writes it"):
        read_frame(SHARED / name)
