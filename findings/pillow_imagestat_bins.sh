#!/bin/sh
# Guess, before anything was run: ImageStat.Stat of a 16-bit grey or a floating-point picture gives the mean, median and
# extrema of its pixels, as it does for 8-bit ones; Image.getextrema agrees with it.
# Seen with pillow 13.0.0, numpy 2.4.6: the numbers are those of the 256 bins of the picture's histogram, without an
# error or a warning. Pixels of 51021 to 52420 counts have "extrema" (0, 255) and a mean of 165 instead of 51726;
# pixels of 510 to 524 degC a mean of 128 instead of 517. Image.getextrema is right.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q pillow==13.0.0 numpy==2.4.6
"$folder/env/bin/python" - <<'PY'
import numpy as np
import PIL
from PIL import Image, ImageStat

counts = np.random.default_rng(0).integers(51021, 52421, (64, 64)).astype(np.uint16)
print("pillow", PIL.__version__)
for pixels in (counts, (counts / 100).astype(np.float32), (counts % 256).astype(np.uint8)):
    picture = Image.fromarray(pixels)
    seen = ImageStat.Stat(picture)
    print(
        f"mode {picture.mode:5} mean {seen.mean[0]:9.2f} (NumPy {pixels.mean():9.2f})  extrema {seen.extrema[0]}"
        f"  getextrema {picture.getextrema()}"
    )
    assert picture.getextrema() == (pixels.min(), pixels.max())
    if pixels.dtype == np.uint8:
        assert abs(seen.mean[0] - pixels.mean()) < 1e-9, "right for 8 bit"
        assert seen.extrema[0] == (pixels.min(), pixels.max())
    else:
        assert seen.mean[0] < 256 < pixels.mean(), "this has changed: the mean is that of the pixels now"
        assert seen.extrema[0] == (0, 255), "this has changed"
PY
