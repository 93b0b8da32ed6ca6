"""Lets tifffile write frames, each beside the upright pixels (NaN where missing) that a reader must find, as .npy."""

from typing import Any

import numpy as np
import tifffile

from made_set import OUT

HEIGHT, WIDTH = 48, 80  # px
PLACES = {  # orientation -> row, column in the upright picture of the pixel stored at r, c (TIFF 6.0, section 8)
    1: lambda r, c: (r, c),
    2: lambda r, c: (r, WIDTH - 1 - c),
    3: lambda r, c: (HEIGHT - 1 - r, WIDTH - 1 - c),
    4: lambda r, c: (HEIGHT - 1 - r, c),
    5: lambda r, c: (c, r),
    6: lambda r, c: (c, HEIGHT - 1 - r),
    7: lambda r, c: (WIDTH - 1 - c, HEIGHT - 1 - r),
    8: lambda r, c: (WIDTH - 1 - c, r),
}


def write(name: str, stored: np.ndarray, expected: np.ndarray | None = None, **how: Any) -> None:
    """Writes a frame and the pixels that are expected of it."""
    tifffile.imwrite(OUT / f"{name}.tif", stored, **how)
    np.save(OUT / f"{name}.npy", stored if expected is None else expected)


def upright(stored: np.ndarray, orientation: int) -> np.ndarray:
    """The picture as the tag wants it shown, pixel by pixel."""
    shown = np.empty((HEIGHT, WIDTH) if orientation < 5 else (WIDTH, HEIGHT), stored.dtype)
    for place in np.ndindex(stored.shape):
        shown[PLACES[orientation](*place)] = stored[place]
    return shown


OUT.mkdir(parents=True, exist_ok=True)
rng = np.random.default_rng(0)
celsius = rng.normal(8.5, 2, (HEIGHT, WIDTH)).astype(np.float32)
counts = rng.integers(28000, 29000, (HEIGHT, WIDTH), dtype=np.uint16)
write("float32", celsius)
write("float32_deflate_predictor", celsius, compression="zlib", predictor=True)
write("float32_tiles", celsius, tile=(16, 32))
write("float32_big_endian", celsius, byteorder=">")
write("float16", celsius.astype(np.float16))
write("float64", celsius.astype(np.float64))
write("uint8", (counts % 256).astype(np.uint8))
write("uint16", counts)
write("uint16_strips", counts, rowsperstrip=5)
write("uint16_bigtiff", counts, bigtiff=True)
for compression in ("zlib", "lzw", "zstd", "lzma", "packbits"):
    write(f"uint16_{compression}", counts, compression=compression)
write("uint16_tiles_lzw_predictor", counts, tile=(32, 16), compression="lzw", predictor=True)
write("uint16_white_is_zero", counts, photometric="miniswhite")
write("int16", np.round(celsius * 100).astype(np.int16))
written = celsius.copy()
written[3:7, 10:20] = -9999
missing = np.where(written == -9999, np.nan, written)
write("float32_nodata", written, missing, extratags=[(42113, "s", 0, "-9999", True)])
holed = counts.copy()
holed[40:, :9] = 0
missing = np.where(holed == 0, np.nan, holed.astype(np.float32))
write("uint16_nodata_tiles", holed, missing, tile=(16, 16), extratags=[(42113, "s", 0, "0", True)])
for orientation in PLACES:
    write(
        f"uint16_orientation_{orientation}",
        counts,
        upright(counts, orientation),
        extratags=[(274, "H", 1, orientation, True)],
    )
