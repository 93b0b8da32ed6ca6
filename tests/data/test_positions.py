"""Where pixels lie on the ground: GeoTIFF against known coordinates, cameras against a flat earth computed by hand."""

import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from dml_lightning.data import positions
from dml_lightning.data.frames import FrameError
from dml_lightning.data.positions import FULL_FRAME, check_geo, ground_scale, locator

UTM_32_NORTH, WGS84, LV95 = 32632, 4326, 2056
TOP, HEIGHT, FOCAL = (52.5, 13.4), 50.0, 58  # degrees, m, mm
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description xmlns:drone-dji="http://www.dji.com/drone-dji/1.0/" {fields}/></rdf:RDF></x:xmpmeta>'
)
FLOWN = {"RelativeAltitude": f"+{HEIGHT:.2f}", "GimbalPitchDegree": "-90.00", "GimbalYawDegree": "+0.00"}


def geotiff(
    path: Path,
    epsg: int,
    east: float,
    north: float,
    scale: tuple[float, float],
    *,
    centres: bool = False,
    matrix: list[float] | None = None,
    orientation: int = 1,
) -> Path:
    """A GeoTIFF of 40 x 30 px whose top left corner lies at (east, north)."""
    kind = 2048 if epsg == WGS84 else 3072
    keys = [1, 1, 0, 3, 1024, 0, 1, 2 if epsg == WGS84 else 1, 1025, 0, 1, 2 if centres else 1, kind, 0, 1, epsg]
    tags: list[tuple[Any, ...]] = [(34735, 3, len(keys), keys, False), (274, 3, 1, orientation, False)]
    if matrix:
        tags.append((34264, 12, 16, matrix, False))
    else:
        tags += [(33550, 12, 3, (*scale, 0.0), False), (33922, 12, 6, (0.0, 0.0, 0.0, east, north, 0.0), False)]
    tifffile.imwrite(path, np.zeros((30, 40), np.float32), extratags=tags)
    return path


def camera(
    path: Path,
    *,
    gps: bool = True,
    focal: int | None = FOCAL,
    exif: Any = None,
    details: dict[int, Any] | None = None,
    **flown: str | None,
) -> Path:
    """A picture of 640 x 512 px as a drone writes it; fields of XMP may be changed, or left out by None."""
    image, tags = Image.new("L", (640, 512)), Image.Exif()
    if gps:
        tags.get_ifd(0x8825).update(
            {1: "N", 2: (Fraction(52), Fraction(30), Fraction(0)), 3: "E", 4: (Fraction(13), Fraction(24), Fraction(0))}
        )
    if focal is not None:
        tags.get_ifd(0x8769)[41989] = focal
    tags.get_ifd(0x8769).update(details or {})
    for key, value in (exif or {}).items():
        (tags.get_ifd(0x8825) if key < 100 else tags)[key] = value
    fields = {name: value for name, value in (FLOWN | flown).items() if value is not None}
    text = XMP.format(fields=" ".join(f'drone-dji:{name}="{value}"' for name, value in fields.items()))
    image.save(path, exif=tags, xmp=text.encode())
    return path


def metres(first: tuple[float, float], second: tuple[float, float]) -> tuple[float, float]:
    """East and north from the first to the second (latitude, longitude), by the radii of curvature of WGS84."""
    a, e2 = 6378137.0, 0.00669437999014
    s = math.sin(math.radians(first[0]))
    meridian, normal = a * (1 - e2) / (1 - e2 * s * s) ** 1.5, a / math.sqrt(1 - e2 * s * s)
    north = math.radians(second[0] - first[0]) * meridian
    return math.radians(second[1] - first[1]) * normal * math.cos(math.radians(first[0])), north


def test_a_geotiff_places_its_pixels(tmp_path: Path) -> None:
    """On the central meridian at the equator UTM's scale is 0.9996; the Swiss grid's origin is in the old Bern."""
    utm = locator(geotiff(tmp_path / "utm.tif", UTM_32_NORTH, 500_000, 0, (0.5, 0.5)))
    assert utm(0, 0)[:2] == pytest.approx((9.0, 0.0), abs=1e-12)
    assert math.isnan(utm(0, 0).error)
    longitude, latitude, _ = utm(20, 10)  # 10 m east, 5 m south
    assert metres((0.0, 9.0), (latitude, longitude)) == pytest.approx((10 / 0.9996, -5 / 0.9996), abs=1e-4)
    degrees = locator(geotiff(tmp_path / "degrees.tif", WGS84, 13.4, 52.5, (0.001, 0.002)))
    assert degrees(3, 5)[:2] == pytest.approx((13.403, 52.49))
    swiss = locator(geotiff(tmp_path / "swiss.tif", LV95, 2_600_000, 1_200_000, (1, 1)))
    assert swiss(0, 0)[:2] == pytest.approx((7.438632, 46.951083), abs=2e-6)


def test_the_forms_of_a_transform_agree(tmp_path: Path) -> None:
    by_scale = locator(geotiff(tmp_path / "scale.tif", UTM_32_NORTH, 500_100, 5_000_000, (0.5, 0.5)))
    matrix = [0.5, 0, 0, 500_100, 0, -0.5, 0, 5_000_000, 0, 0, 0, 0, 0, 0, 0, 1]
    by_matrix = locator(geotiff(tmp_path / "matrix.tif", UTM_32_NORTH, 0, 0, (1, 1), matrix=matrix))
    of_centres = locator(geotiff(tmp_path / "centres.tif", UTM_32_NORTH, 500_100, 5_000_000, (0.5, 0.5), centres=True))
    for x, y in ((0.0, 0.0), (12.5, 7.25)):
        assert by_matrix(x, y)[:2] == pytest.approx(by_scale(x, y)[:2], abs=1e-12)
        assert of_centres(x + 0.5, y + 0.5)[:2] == pytest.approx(by_scale(x, y)[:2], abs=1e-12)
    turned = [0, 0.5, 0, 500_100, 0.5, 0, 0, 5_000_000, 0, 0, 0, 0, 0, 0, 0, 1]  # x goes north, y east
    other = locator(geotiff(tmp_path / "turned.tif", UTM_32_NORTH, 0, 0, (1, 1), matrix=turned))
    assert other(-4, 8)[:2] == pytest.approx(by_scale(8, 4)[:2], abs=1e-12)


@pytest.mark.parametrize(("yaw", "roll"), [(0, 0), (90, 0), (-135, 0), (45, 180)])
def test_a_camera_that_looks_down_places_its_pixels(tmp_path: Path, yaw: int, roll: int) -> None:
    path = camera(tmp_path / "a.jpg", GimbalYawDegree=f"{yaw:+.2f}", GimbalRollDegree=f"{roll:+.2f}")
    locate = locator(path)
    assert locate(320, 256)[:2] == pytest.approx(TOP[::-1], abs=1e-9)
    scale = HEIGHT * FULL_FRAME / (FOCAL * math.hypot(640, 512))
    assert scale == pytest.approx(0.0455, abs=1e-4)  # m a px, as of a camera of 58 mm at 50 m
    for x, y in ((320, 0), (640, 256), (10, 500)):
        right, ahead, angle = scale * (x - 320), scale * (256 - y), math.radians(yaw + roll)
        east, north = (
            right * math.cos(angle) + ahead * math.sin(angle),
            ahead * math.cos(angle) - right * math.sin(angle),
        )
        longitude, latitude, error = locate(x, y)
        assert metres(TOP, (latitude, longitude)) == pytest.approx((east, north), abs=1e-3)
        away = math.hypot(east, north)
        assert error == pytest.approx(math.hypot(5.0, away * math.radians(5), away * 0.1))


def test_the_error_grows_with_what_the_file_states(tmp_path: Path) -> None:
    plain = locator(camera(tmp_path / "a.jpg"))(320, 256).error
    tilted = locator(camera(tmp_path / "b.jpg", GimbalPitchDegree="-84.00"))(320, 256).error
    stated = locator(camera(tmp_path / "c.jpg", exif={31: Fraction(1, 2)}))(320, 256).error
    fixed = locator(camera(tmp_path / "d.jpg", RtkStdLon="0.03", RtkStdLat="0.04"))(320, 256).error
    tilt = HEIGHT * math.tan(math.radians(6))
    assert (plain, tilted, stated, fixed) == pytest.approx((5.0, math.hypot(5.0, tilt), 0.5, 0.05))


@pytest.mark.parametrize("name", ["GpsLongitude", "GpsLongtitude"])
def test_the_position_may_stand_in_xmp_alone(tmp_path: Path, name: str) -> None:
    path = camera(tmp_path / "a.jpg", gps=False, GpsLatitude="-33.5", **{name: "151.25"})
    assert locator(path)(320, 256)[:2] == pytest.approx((151.25, -33.5), abs=1e-9)


def test_south_and_west_are_negative(tmp_path: Path) -> None:
    path = camera(tmp_path / "a.jpg", exif={1: "S", 3: "W"})
    assert locator(path)(320, 256)[:2] == pytest.approx((-TOP[1], -TOP[0]), abs=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gps": False}, "does not state a position"),
        ({"gps": False, "GpsLatitude": "0", "GpsLongitude": "0"}, "does not state a position"),
        ({"focal": None}, "does not state a focal length"),
        ({"RelativeAltitude": None}, "does not state a height"),
        ({"RelativeAltitude": "high"}, "does not state a height"),
        ({"GimbalYawDegree": None}, "does not state the direction"),
        ({"GimbalPitchDegree": None}, "does not state the pitch"),
        ({"GimbalPitchDegree": "-45.0"}, "looks 45 degrees away from straight down"),
        ({"RelativeAltitude": "-3"}, "states a height of -3 m"),
        ({"exif": {274: 6}}, "has the orientation 6"),
    ],
)
def test_a_frame_that_cannot_be_placed_says_why(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(FrameError, match=rf"a\.jpg: {message}"):
        locator(camera(tmp_path / "a.jpg", **change))


def test_a_geotiff_that_cannot_be_placed_says_why(tmp_path: Path) -> None:
    with pytest.raises(FrameError, match="names no coordinate system by an EPSG number"):
        locator(geotiff(tmp_path / "a.tif", 32767, 0, 0, (1, 1)))
    with pytest.raises(FrameError, match="has a transform and the orientation 6"):
        locator(geotiff(tmp_path / "b.tif", WGS84, 0, 0, (1, 1), orientation=6))
    with pytest.raises(FrameError, match="names EPSG:1, from which there is no way to WGS84"):
        locator(geotiff(tmp_path / "c.tif", 1, 0, 0, (1, 1)))
    keys = [1, 1, 0, 1, 2048, 0, 1, WGS84]
    tifffile.imwrite(tmp_path / "d.tif", np.zeros((4, 4), np.float32), extratags=[(34735, 3, len(keys), keys, False)])
    with pytest.raises(FrameError, match="has geographic tags without a transform"):
        locator(tmp_path / "d.tif")
    tifffile.imwrite(tmp_path / "e.tif", np.zeros((4, 4), np.float32))
    with pytest.raises(FrameError, match="does not state a position"):
        locator(tmp_path / "e.tif")
    tifffile.imwrite(tmp_path / "f.tif", np.zeros((4, 4), np.float64))  # Pillow reads no such file
    with pytest.raises(FrameError, match="states neither a transform nor a position"):
        locator(tmp_path / "f.tif")


@pytest.mark.parametrize(
    "keys",
    [
        [1, 1, 0, 3, 1024, 0, 1, 1, 2048, 0, 1, WGS84, 3072, 0, 1, 32767],  # as GDAL writes a projection of one's own
        [1, 1, 0, 2, 1024, 0, 1, 1, 2048, 0, 1, WGS84],
        [1, 1, 0, 2, 1024, 0, 1, 2, 2048, 0, 1, WGS84],
    ],
)
def test_metres_are_never_taken_for_degrees(tmp_path: Path, keys: list[int]) -> None:
    """The datum of a projection without a number is no coordinate system of its metres."""
    tags: list[tuple[Any, ...]] = [(34735, 3, len(keys), keys, False), (33550, 12, 3, (0.5, 0.5, 0.0), False)]
    tags.append((33922, 12, 6, (0.0, 0.0, 0.0, 500_000.0, 5_800_000.0, 0.0), False))
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 4), np.float32), extratags=tags)
    with pytest.raises(FrameError, match=r"names no coordinate system by an EPSG|lies beyond the earth .* EPSG:4326"):
        locator(tmp_path / "a.tif")


def test_broken_xmp_is_named(tmp_path: Path) -> None:
    Image.new("L", (64, 48)).save(tmp_path / "a.jpg", xmp=b"<x:xmpmeta")
    with pytest.raises(FrameError, match="has XMP that is no XML"):
        locator(tmp_path / "a.jpg")


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    check_geo()
    monkeypatch.setattr(positions, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"needs pyproj, which is not installed: pip install \"dml-lightning\[geo\]\""):
        check_geo()


# Metres per px


def test_the_scale_of_a_frame_is_that_of_the_map(tmp_path: Path) -> None:
    expected = HEIGHT * FULL_FRAME / (FOCAL * math.hypot(640, 512))
    assert ground_scale(camera(tmp_path / "a.jpg")) == pytest.approx(expected)
    assert ground_scale(camera(tmp_path / "b.jpg", gps=False, GimbalYawDegree=None)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("unit", "per_unit"), [(2, 25.4 / 0.012), (3, 10 / 0.012), (4, 1 / 0.012), (None, 25.4 / 0.012)]
)
def test_a_pixel_of_12_um_behind_13_5_mm_at_60_m_is_5_3_cm(tmp_path: Path, unit: int | None, per_unit: float) -> None:
    details = {37386: 13.5, 41486: per_unit} | ({} if unit is None else {41488: unit})
    path = camera(tmp_path / "a.jpg", focal=None, details=details, RelativeAltitude="+60.0")
    assert ground_scale(path) == pytest.approx(60 * 0.012 / 13.5, rel=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"focal": None},
        {"focal": 0},
        {"focal": None, "details": {37386: 13.5, 41486: 0.0}},
        {"focal": None, "details": {37386: 13.5, 41486: 2000.0, 41488: 9}},
        {"RelativeAltitude": None},
        {"RelativeAltitude": "-3.0"},
        {"GimbalPitchDegree": None},
        {"GimbalPitchDegree": "-45.0"},
    ],
)
def test_a_frame_that_does_not_state_all_has_no_scale(tmp_path: Path, change: dict[str, Any]) -> None:
    assert math.isnan(ground_scale(camera(tmp_path / "a.jpg", **change)))


def test_what_is_no_picture_has_no_scale(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"nothing")
    assert math.isnan(ground_scale(tmp_path / "a.jpg"))
    assert math.isnan(ground_scale(tmp_path / "gone.jpg"))
