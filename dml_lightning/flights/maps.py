"""Predictions as points on a map: GeoJSON, or GeoPackage where geopandas is installed."""

import json
import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

import pandas as pd

from dml_lightning.data.frames import FrameError
from dml_lightning.data.positions import Point, check_geo, locator
from dml_lightning.files import replacing
from dml_lightning.flights.annotations import shown_name

DIGITS = 7  # of a degree, 1 cm on the ground
HEAD = b'{"type": "FeatureCollection", "features": ['


class Map:
    """Takes the boxes of one frame after the other as points at their centres, in WGS84.

    Args:
        features: File that receives GeoJSON features as they come; None keeps them for `rows`.

    Attributes:
        rows: Properties and position of each box, unless features are written.
        points: Number of boxes so far.
        lost: Reason by frame, for frames that cannot be placed.
    """

    def __init__(self, features: BinaryIO | None = None) -> None:
        self.rows: list[dict[str, Any]] = []
        self.points = 0
        self.lost: dict[str, str] = {}
        self._features = features

    def add(self, frame: str, boxes: pd.DataFrame) -> None:
        """Places the boxes of a frame.

        Args:
            frame: Path of the frame.
            boxes: Columns x, y, width, height (px), group, label, decision, score, p_value.
        """
        try:
            locate = locator(frame)
        except FrameError as error:
            self.lost[frame] = str(error)
            return
        for box in boxes.to_dict("records"):
            point = locate(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
            row = _properties(frame, box, point)
            if self._features is None:
                self.rows.append(row | {"longitude": point.longitude, "latitude": point.latitude})
            else:
                feature = {"type": "Feature", "geometry": _geometry(point), "properties": row}
                text = json.dumps(feature, ensure_ascii=False, allow_nan=False)
                self._features.write(f"{',' if self.points else ''}\n{text}".encode())
            self.points += 1

    def check(self) -> None:
        """Refuses a map without any box though there are some.

        Raises:
            ValueError: If no frame with a box could be placed; the first reason is named.
        """
        if self.lost and not self.points:
            raise ValueError(f"no box can be put on a map, the first reason being: {next(iter(self.lost.values()))}")


def check_map(path: Path) -> None:
    """Refuses a map that cannot be written here.

    Raises:
        ValueError: If the suffix is unknown, or pyproj or, for GeoPackage, geopandas is not installed.
    """
    if path.suffix not in (".geojson", ".gpkg"):
        raise ValueError(f"--map {path}: name the .geojson or .gpkg file to write.")
    check_geo()
    if path.suffix == ".gpkg" and find_spec("geopandas") is None:
        raise ValueError(f"--map {path} needs geopandas, which is not installed; a .geojson file needs none.")


@contextmanager
def drawing(path: Path) -> Iterator[Map]:
    """Yields a map to add boxes to; its file appears when it is complete.

    Raises:
        ValueError: If no box could be placed though there are some.
    """
    with replacing(path) as file:
        if path.suffix == ".gpkg":
            drawn = Map()
            yield drawn
            drawn.check()
            file.write(_geopackage(drawn.rows))
        else:
            drawn = Map(file)
            file.write(HEAD)
            yield drawn
            drawn.check()
            file.write(b"\n]}\n")


def _properties(frame: str, box: dict[Any, Any], point: Point) -> dict[str, Any]:
    return {
        "frame": frame,
        "flight": box["group"],
        "species": shown_name(box),
        "resembles": box["label"],
        "decision": box["decision"],
        "p_value": _or_none(box["p_value"]),
        "score": _or_none(box["score"]),
        "error_m": _or_none(round(point.error, 2)),
    }


def _geometry(point: Point) -> dict[str, Any]:
    return {"type": "Point", "coordinates": [round(point.longitude, DIGITS), round(point.latitude, DIGITS)]}


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _geopackage(rows: list[dict[str, Any]]) -> bytes:
    """Content of a GeoPackage with the layer boxes."""
    import geopandas

    columns = ["frame", "flight", "species", "resembles", "decision", "p_value", "score", "error_m"]
    table = pd.DataFrame(rows, columns=[*columns, "longitude", "latitude"])
    numbers = dict.fromkeys(["p_value", "score", "error_m", "longitude", "latitude"], "float64")
    table = table.astype(numbers)
    points = geopandas.points_from_xy(table["longitude"], table["latitude"])
    frame = geopandas.GeoDataFrame(table[columns], geometry=points, crs="EPSG:4326")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "boxes.gpkg"
        frame.to_file(path, layer="boxes", driver="GPKG")
        return path.read_bytes()
