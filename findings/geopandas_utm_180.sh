#!/bin/sh
# Guess, before anything was run: for two nests on either side of the 180th meridian (Chukotka, Wrangel Island, Fiji)
# geopandas' estimate_utm_crs names the zone of one of them, 60 or 1.
# Seen with geopandas 1.2.0, pyproj 3.7.2, shapely 2.2.0: it takes the mean of both longitudes, which is Greenwich, and
# names zone 30, on the other side of the earth. to_crs goes along without a word: both nests lie 2700 km behind the
# pole, and the one further north has the smaller northing, so that a map is upside down. (A second guess missed too:
# that their distance would be wrong. Behind the pole it is right again.)
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q geopandas==1.2.0 pyproj==3.7.2 shapely==2.2.0
"$folder/env/bin/python" - <<'PY'
import geopandas
import pyproj
from shapely.geometry import Point

print("geopandas", geopandas.__version__, "pyproj", pyproj.__version__)
for name, (west, east) in {"at 178 degrees": (177.9, 178.1), "at 180 degrees": (179.9, -179.9)}.items():
    nests = geopandas.GeoSeries([Point(west, 66.0), Point(east, 66.05)], crs="EPSG:4326")
    true = pyproj.Geod(ellps="WGS84").inv(west, 66.0, east, 66.05)[2]
    crs = nests.estimate_utm_crs()
    south, north = nests.to_crs(crs)
    print(f"{name}: {crs.name}, northing {south.y / 1000:.0f} km, and of the nest further north {north.y / 1000:.0f} km;")
    print(f"    distance {south.distance(north):.0f} m, on the ellipsoid {true:.0f} m")
    assert abs(south.distance(north) / true - 1) < 0.001
    if name == "at 178 degrees":
        assert crs.utm_zone == "60N" and north.y > south.y, "right away from the meridian"
    else:
        assert crs.utm_zone == "30N", "this has changed: another zone is found"
        assert 12.6e6 < north.y < south.y, "this has changed"
PY
