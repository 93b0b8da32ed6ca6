"""Where the pixels of a frame lie on the ground: by the transform of a GeoTIFF, or by position and angle of a camera.

Points are (longitude, latitude) in degrees, WGS84. The extra `geo` (pyproj) is needed.
"""

import math
from collections.abc import Callable, Mapping
from functools import cache
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import tifffile
from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException
from PIL import ExifTags, Image, UnidentifiedImageError

from dml_lightning.data.frames import FrameError, frame_size
from dml_lightning.data.pixels import orientation

if TYPE_CHECKING:
    import pyproj

GPS_ERROR = 5.0  # m, of a position without a stated error
ALTITUDE_ERROR = 0.1  # of the altitude, which is that above the take-off point and not above the ground
YAW_ERROR = 5.0  # degrees, of a compass
STEEPEST = 10.0  # degrees from straight down, up to which a view counts as nadir
FULL_FRAME = math.hypot(36, 24)  # mm, diagonal to which 35 mm equivalents refer
PLANE_UNITS = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}  # EXIF's units of the resolution of the sensor, mm
LARGEST_XMP = 1 << 20  # bytes
PROJECTED = 1  # kind of a coordinate system
USER_DEFINED = 32767  # code of a coordinate system without a number


class Point(NamedTuple):
    """A place on the ground."""

    longitude: float  # degrees
    latitude: float  # degrees
    error: float  # m, standard deviation; NaN where the file does not state it


Locate = Callable[[float, float], Point]  # from px of the frame, right and down from its top left corner


def check_geo() -> None:
    """Refuses to go on without pyproj.

    Raises:
        ValueError: If it is not installed.
    """
    if find_spec("pyproj") is None:
        raise ValueError('a map needs pyproj, which is not installed: pip install "dml-lightning[geo]".')


def locator(path: str | Path) -> Locate:
    """Returns the function from px of a frame to places on the ground.

    Raises:
        FrameError: If the file does not say where it lies, or was not taken straight down.
    """
    path = Path(path)
    if path.suffix.lower() in (".tif", ".tiff"):
        with tifffile.TiffFile(path) as tiff:
            page: Any = tiff.pages[0]
            tags = page.geotiff_tags
            turned = page.tags[orientation.TAG].value if orientation.TAG in page.tags else 1
        if tags:
            return _by_transform(path, tags, int(turned))
    return _by_camera(path)


# A GeoTIFF ------------------------------------------------------------------------------------


def _by_transform(path: Path, tags: Mapping[str, Any], turned: int) -> Locate:
    if turned != 1:
        raise FrameError(path, f"has a transform and the orientation {turned}", "write it upright")
    epsg = _epsg(path, tags)
    to_wgs84 = _to_wgs84(path, epsg)
    shift = 0.5 if int(tags.get("GTRasterTypeGeoKey", 1)) == 2 else 0.0  # 2: of the pixels' centres
    a, b, c, d, e, f = _affine(path, tags)

    def locate(x: float, y: float) -> Point:
        x, y = x - shift, y - shift
        longitude, latitude = to_wgs84.transform(a * x + b * y + c, d * x + e * y + f)
        return Point(float(longitude), float(latitude), math.nan)

    width, height = frame_size(path)
    for corner in product((0, width), (0, height)):
        longitude, latitude, _ = locate(*corner)
        if not (abs(longitude) <= 180 and abs(latitude) <= 90):  # also where it cannot be computed
            raise FrameError(
                path,
                f"lies beyond the earth by its transform and EPSG:{epsg}",
                "write it with its own coordinate system",
            )
    return locate


def _affine(path: Path, tags: Mapping[str, Any]) -> tuple[float, ...]:
    """Coefficients a to f of X = a x + b y + c, Y = d x + e y + f."""
    matrix = tags.get("ModelTransformation")
    if matrix is not None:
        flat = [float(value) for row in matrix for value in row]
        return flat[0], flat[1], flat[3], flat[4], flat[5], flat[7]
    scale, tie = tags.get("ModelPixelScale"), tags.get("ModelTiepoint")
    if scale is None or tie is None or len(tie) != 6:
        raise FrameError(path, "has geographic tags without a transform", "write one tie point and the pixel scale")
    column, row, _, east, north, _ = tie
    return scale[0], 0.0, east - column * scale[0], 0.0, -scale[1], north + row * scale[1]


def _epsg(path: Path, tags: Mapping[str, Any]) -> int:
    projected = "ProjectedCSTypeGeoKey" in tags or int(tags.get("GTModelTypeGeoKey", 0)) == PROJECTED
    key = "ProjectedCSTypeGeoKey" if projected else "GeographicTypeGeoKey"  # a projection may name its datum, too
    code = int(tags.get(key, USER_DEFINED))
    if code != USER_DEFINED:
        return code
    raise FrameError(path, "names no coordinate system by an EPSG number", "write it with one, such as EPSG:4326")


def _to_wgs84(path: Path, epsg: int) -> "pyproj.Transformer":
    import pyproj

    try:
        return _transformer(epsg)
    except pyproj.exceptions.ProjError:
        raise FrameError(
            path, f"names EPSG:{epsg}, from which there is no way to WGS84", "write it with another, such as EPSG:4326"
        ) from None


@cache
def _transformer(epsg: int) -> "pyproj.Transformer":
    import pyproj

    return pyproj.Transformer.from_crs(epsg, 4326, always_xy=True)


# A camera that looks straight down -------------------------------------------------------------


class _Camera(NamedTuple):
    longitude: float
    latitude: float
    error: float  # m
    altitude: float  # m above the take-off point
    yaw: float  # degrees clockwise from north, of the frame's top
    tilt: float  # degrees from straight down
    scale: float  # m per px


def _by_camera(path: Path) -> Locate:
    import pyproj

    camera = _camera(path)
    width, height = frame_size(path)
    ellipsoid = pyproj.Geod(ellps="WGS84")

    def locate(x: float, y: float) -> Point:
        right, ahead = camera.scale * (x - width / 2), camera.scale * (height / 2 - y)
        distance = math.hypot(right, ahead)
        bearing = camera.yaw + math.degrees(math.atan2(right, ahead))
        longitude, latitude, _ = ellipsoid.fwd(camera.longitude, camera.latitude, bearing, distance)
        parts = (
            camera.error,
            camera.altitude * math.tan(math.radians(camera.tilt)),
            distance * math.radians(YAW_ERROR),
            distance * ALTITUDE_ERROR,
        )
        return Point(float(longitude), float(latitude), math.hypot(*parts))

    return locate


class _Shot(NamedTuple):
    """What a file states of its frame."""

    orientation: int
    size: tuple[int, int]  # px
    gps: Mapping[int, Any]
    flown: Mapping[str, float]  # numbers of its XMP
    focal: float  # mm, of the equivalent 35 mm film


def ground_scale(path: str | Path) -> float:
    """Metres on the ground per px of a frame, by altitude, focal length and size of a pixel.

    The altitude is that above the take-off point, and usually right to a tenth.

    Returns:
        The distance in m; NaN where the file does not state all of them, or the camera did not look straight down.
    """
    try:
        shot = _shot(Path(path))
    except (FrameError, OSError):
        return math.nan
    altitude, pitch = (shot.flown.get(name, math.nan) for name in ("RelativeAltitude", "GimbalPitchDegree"))
    looks_down = abs(90 + pitch) <= STEEPEST and altitude > 0 and shot.focal > 0
    return _scale(altitude, shot) if looks_down else math.nan


def _scale(altitude: float, shot: _Shot) -> float:
    return altitude * FULL_FRAME / (shot.focal * math.hypot(*shot.size))


def _shot(path: Path) -> _Shot:
    try:
        with Image.open(path) as image:
            exif = image.getexif()
            details = exif.get_ifd(ExifTags.IFD.Exif)
            gps, flown = exif.get_ifd(ExifTags.IFD.GPSInfo), _xmp(path, image)
            return _Shot(exif.get(orientation.TAG, 1), image.size, gps, flown, _focal_length(details, image.size))
    except UnidentifiedImageError:  # a TIFF of a kind that no drone writes
        raise FrameError(path, "states neither a transform nor a position", "map GeoTIFF frames") from None


def _focal_length(details: Mapping[int, Any], size: tuple[int, int]) -> float:
    """Equivalent focal length, mm: as stated, or by the focal length and the size of a pixel."""
    stated = _number(details.get(ExifTags.Base.FocalLengthIn35mmFilm))
    if not math.isnan(stated):
        return stated
    unit = PLANE_UNITS.get(details.get(ExifTags.Base.FocalPlaneResolutionUnit, 2), math.nan)
    diagonal = math.hypot(*size) * unit / (_number(details.get(ExifTags.Base.FocalPlaneXResolution)) or math.nan)
    return _number(details.get(ExifTags.Base.FocalLength)) * FULL_FRAME / diagonal


def _camera(path: Path) -> _Camera:
    shot = _shot(path)
    gps, flown, focal = shot.gps, shot.flown, shot.focal
    if shot.orientation != 1:
        raise FrameError(path, f"has the orientation {shot.orientation}", "only upright frames can be mapped")
    latitude, longitude = _position(gps, flown)
    stated = {
        "a position (EXIF GPSLatitude, GPSLongitude)": latitude + longitude,
        "a height (XMP RelativeAltitude)": flown.get("RelativeAltitude", math.nan),
        "the pitch of the camera (XMP GimbalPitchDegree)": flown.get("GimbalPitchDegree", math.nan),
        "the direction of the camera (XMP GimbalYawDegree)": flown.get("GimbalYawDegree", math.nan),
        "a focal length (EXIF FocalLengthIn35mmFilm)": focal,
    }
    lacks = [what for what, value in stated.items() if math.isnan(value)]
    if lacks:
        raise FrameError(path, f"does not state {lacks[0]}", "map GeoTIFF frames, or frames as the drone wrote them")
    altitude = flown["RelativeAltitude"]
    if not (altitude > 0 and focal > 0):
        raise FrameError(path, f"states a height of {altitude:g} m and a focal length of {focal:g} mm", "leave it out")
    tilt = abs(90 + flown["GimbalPitchDegree"])
    if tilt > STEEPEST:
        raise FrameError(
            path,
            f"looks {tilt:.0f} degrees away from straight down",
            f"only views within {STEEPEST:g} degrees can be mapped",
        )
    turned = 180.0 if abs(flown.get("GimbalRollDegree", 0.0)) > 90 else 0.0
    return _Camera(
        longitude,
        latitude,
        _position_error(gps, flown),
        altitude,
        flown["GimbalYawDegree"] + turned,
        tilt,
        _scale(altitude, shot),
    )


def _position(gps: Mapping[int, Any], flown: Mapping[str, float]) -> tuple[float, float]:
    """Latitude and longitude of the camera; NaN without a fix, for which some drones write 0, 0."""
    latitude = _degrees(gps.get(ExifTags.GPS.GPSLatitude), gps.get(ExifTags.GPS.GPSLatitudeRef), "S")
    longitude = _degrees(gps.get(ExifTags.GPS.GPSLongitude), gps.get(ExifTags.GPS.GPSLongitudeRef), "W")
    if math.isnan(latitude + longitude):
        misspelt = flown.get("GpsLongtitude", math.nan)  # as early DJI drones wrote it
        latitude, longitude = flown.get("GpsLatitude", math.nan), flown.get("GpsLongitude", misspelt)
    return (latitude, longitude) if latitude or longitude else (math.nan, math.nan)


def _position_error(gps: Mapping[int, Any], flown: Mapping[str, float]) -> float:
    stated = _number(gps.get(ExifTags.GPS.GPSHPositioningError))
    rtk = math.hypot(flown.get("RtkStdLon", math.nan), flown.get("RtkStdLat", math.nan))
    return next((value for value in (stated, rtk) if value > 0), GPS_ERROR)


def _degrees(parts: Any, side: Any, negative: str) -> float:
    """Decimal degrees of degrees, minutes and seconds."""
    try:
        degrees, minutes, seconds = (float(part) for part in parts)
    except (TypeError, ValueError, ZeroDivisionError):
        return math.nan
    value = degrees + minutes / 60 + seconds / 3600
    return -value if str(side).strip("\0 ").upper() == negative else value


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return math.nan


def _xmp(path: Path, image: Image.Image) -> dict[str, float]:
    """Numbers of a frame's XMP by their name without the namespace."""
    content = image.info.get("xmp", b"")
    if not content or len(content) > LARGEST_XMP:
        return {}
    try:
        root = ElementTree.fromstring(content.strip(b"\0 \n"), forbid_dtd=True)
    except (ElementTree.ParseError, DefusedXmlException, ValueError) as error:
        raise FrameError(path, f"has XMP that is no XML ({error})", "map GeoTIFF frames") from None
    given = [pair for element in root.iter() for pair in (*element.attrib.items(), (element.tag, element.text))]
    numbers = {str(name).rpartition("}")[2]: _number(text) for name, text in given}
    return {name: value for name, value in numbers.items() if not math.isnan(value)}
