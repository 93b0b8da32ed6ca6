"""Boxes on a map: GeoJSON in the order and frame of its standard, and the same in a GeoPackage."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dml_lightning.flights import maps
from dml_lightning.flights.maps import check_map, drawing
from tests.data.test_positions import UTM_32_NORTH, camera, geotiff


def boxes(*centres: tuple[float, float]) -> pd.DataFrame:
    x, y = np.array(centres).T
    return pd.DataFrame({"x": x - 3, "y": y - 2, "width": 6.0, "height": 4.0}).assign(
        group="dawn",
        label="teal",
        decision=["known", "unknown"][: len(centres)],
        score=[0.5, np.nan][: len(centres)],
        p_value=[0.25, 0.01][: len(centres)],
    )


def draw(path: Path, folder: Path) -> maps.Map:
    """Two boxes of a mosaic, one of a nadir frame, and one of a frame that cannot be placed."""
    mosaic = geotiff(folder / "mosaic.tif", UTM_32_NORTH, 500_000, 0, (0.5, 0.5))
    nadir, oblique = camera(folder / "nadir.jpg"), camera(folder / "oblique.jpg", GimbalPitchDegree="-30.0")
    with drawing(path) as drawn:
        drawn.add(str(mosaic), boxes((0, 0), (20, 10)))
        drawn.add(str(oblique), boxes((9, 9)))
        drawn.add(str(nadir), boxes((320, 256)))
        assert not path.exists()
    return drawn


def test_geojson_has_a_point_for_each_box(tmp_path: Path) -> None:
    drawn = draw(tmp_path / "map.geojson", tmp_path)
    content = json.loads((tmp_path / "map.geojson").read_text())
    assert content["type"] == "FeatureCollection"
    assert "crs" not in content  # always WGS84, longitude first
    points = [feature["geometry"]["coordinates"] for feature in content["features"]]
    assert points[0] == [9.0, 0.0]
    assert points[1] == pytest.approx([9.0 + 10 / 0.9996 / 111_319.49, -5 / 0.9996 / 110_574.3], abs=1e-7)
    assert points[2] == [13.4, 52.5]
    rows = [feature["properties"] for feature in content["features"]]
    assert [row["species"] for row in rows] == ["teal", "unknown", "teal"]
    assert [row["resembles"] for row in rows] == ["teal", "teal", "teal"]
    assert [row["score"] for row in rows] == [0.5, None, 0.5]
    assert [row["p_value"] for row in rows] == [0.25, 0.01, 0.25]
    assert [row["error_m"] for row in rows] == [None, None, 5.0]
    assert {row["flight"] for row in rows} == {"dawn"}
    assert drawn.points == 3
    assert list(drawn.lost) == [str(tmp_path / "oblique.jpg")]


def test_a_geopackage_holds_the_same(tmp_path: Path) -> None:
    geopandas = pytest.importorskip("geopandas")
    for name in ("map.geojson", "map.gpkg"):
        draw(tmp_path / name, tmp_path)
    first, second = (geopandas.read_file(tmp_path / name) for name in ("map.geojson", "map.gpkg"))
    assert second.crs.to_epsg() == 4326
    for axis in "xy":
        found, expected = (getattr(each.geometry, axis).tolist() for each in (second, first))
        assert found == pytest.approx(expected, abs=1e-7)
    columns = [name for name in first if name != "geometry"]
    pd.testing.assert_frame_equal(pd.DataFrame(first[columns]), pd.DataFrame(second[columns]), check_dtype=False)


@pytest.mark.parametrize("name", ["map.geojson", "map.gpkg"])
def test_no_box_gives_an_empty_map_and_no_place_is_refused(tmp_path: Path, name: str) -> None:
    with drawing(tmp_path / name):
        pass
    assert (tmp_path / name).stat().st_size > 0
    (tmp_path / name).write_text("before")
    oblique = str(camera(tmp_path / "oblique.jpg", GimbalPitchDegree="-30.0"))
    opened = drawing(tmp_path / name)
    drawn = opened.__enter__()
    drawn.add(oblique, boxes((9, 9)))
    with pytest.raises(
        ValueError, match=r"no box can be put on a map, the first reason being: .*looks 60 degrees away"
    ):
        opened.__exit__(None, None, None)
    assert (tmp_path / name).read_text() == "before"


def test_what_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_map(tmp_path / "a.geojson")
    with pytest.raises(ValueError, match=r"a\.shp: name the \.geojson or \.gpkg file"):
        check_map(tmp_path / "a.shp")
    monkeypatch.setattr(maps, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="needs geopandas, which is not installed"):
        check_map(tmp_path / "a.gpkg")
