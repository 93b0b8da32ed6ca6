#!/bin/sh
# Guess, before anything was run: rasterio reads a window of fractions of a px, such as windows.from_bounds gives for a
# box, as the whole pixels that it touches or whose centres lie in it: neighbours, each once.
# Seen with rasterio 1.4.4 (GDAL 3.10.3), numpy 2.4.6: the number of columns is the width, rounded, and these are spread
# over the window by nearest neighbour. Where rounding goes up, a column may be there twice; where it goes down, one
# from the middle of the window is missing, so that a small bird grows or loses a column. So it is in a fifth of all
# windows of 6 to 8 px; in none of them after Window.round_offsets().round_lengths().
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q rasterio==1.4.4 numpy==2.4.6
"$folder/env/bin/python" - <<'PY'
import numpy as np
import rasterio
from rasterio.io import MemoryFile
from rasterio.transform import from_origin
from rasterio.windows import Window, from_bounds

columns = np.tile(np.arange(100, dtype=np.float32), (3, 1))
profile = {"driver": "GTiff", "height": 3, "width": 100, "count": 1, "dtype": "float32", "crs": "EPSG:32633"}
with MemoryFile() as memory:
    with memory.open(**profile, transform=from_origin(0, 3, 1, 1)) as file:
        file.write(columns, 1)
    with memory.open() as file:
        read = lambda window: file.read(1, window=window)[0].astype(int).tolist()
        print("rasterio", rasterio.__version__, "GDAL", rasterio.__gdal_version__)
        seen = []
        for left, right in ((10.6, 15.2), (10.3, 13.7)):
            window = from_bounds(left, 0, right, 3, file.transform)
            seen.append(read(window))
            print(f"from {window.col_off:.1f}, {window.width:.1f} px wide: columns {seen[-1]}")
        rng, odd, whole = np.random.default_rng(0), 0, 0
        for _ in range(1000):
            window = Window(rng.uniform(0, 90), 0, rng.uniform(6, 8), 3)
            odd += bool((np.diff(read(window)) != 1).any())
            whole += bool((np.diff(read(window.round_offsets().round_lengths())) != 1).any())
        print(f"of 1000 windows of 6 to 8 px, not neighbours: {odd}; after rounding them first: {whole}")
assert seen == [[11, 11, 12, 13, 14], [10, 12, 13]], "this has changed"
assert 150 < odd < 300 and whole == 0, "this has changed"
PY
