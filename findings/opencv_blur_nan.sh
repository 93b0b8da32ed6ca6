#!/bin/sh
# Guess, before anything was run: a missing pixel (NaN) of a float32 frame spoils those results of cv2.blur whose
# square holds it: 25 of a 5x5 mean, as cv2.GaussianBlur with a 5x5 kernel has it.
# Seen with opencv-python-headless 5.0.0.93, numpy 2.4.6: the mean of a square is taken by running sums, and a NaN never
# leaves a sum again. One NaN at row 20, column 20 of a 40x40 frame spoils 110 results: five columns from there to the
# last row. cv2.GaussianBlur spoils 25.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q opencv-python-headless==5.0.0.93 numpy==2.4.6
"$folder/env/bin/python" - <<'PY'
import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

frame = np.random.default_rng(0).normal(8, 0.3, (40, 40)).astype(np.float32)  # degC
frame[20, 20] = np.nan
blurred, gauss = cv2.blur(frame, (5, 5)), cv2.GaussianBlur(frame, (5, 5), 1)
print("opencv", cv2.__version__, "spoilt by blur", np.isnan(blurred).sum(), "by GaussianBlur", np.isnan(gauss).sum())
rows, columns = (sorted(set(part.tolist())) for part in np.nonzero(np.isnan(blurred)))
print("rows", rows[0], "to", rows[-1], "columns", columns[0], "to", columns[-1])
assert np.isnan(gauss).sum() == 25
expected = np.isnan(sliding_window_view(np.pad(frame, 2, mode="reflect"), (5, 5))).any(axis=(2, 3))
assert expected.sum() == 25, "by the definition of a 5x5 mean"
assert np.isnan(blurred).sum() == 110, "this has changed"
assert (rows[0], rows[-1], columns[0], columns[-1]) == (18, 39, 18, 22), "this has changed"
PY
