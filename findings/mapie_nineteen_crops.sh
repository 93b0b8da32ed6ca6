#!/usr/bin/env bash
# Guess, before anything was run: sets of species at 95 % from MAPIE need 19 held-out crops, as the theory has it: the
# 19th of 19 sorted scores is the threshold. With 10 they are refused, or hold every species.
# Seen (MAPIE 1.6.0): 19 crops are refused, "lower than the number of samples", and 20 are taken. The check
# asks for more than 1/(1 - 0.95), which is rounded to a little less than 20, though 19 would do.
# A plan of flights by the theory is one flight short.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "mapie==1.6.0" "scikit-learn==1.9.1"
cd "$folder"
venv/bin/python -W ignore - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from mapie.classification import SplitConformalClassifier
from sklearn.linear_model import LogisticRegression

rng = np.random.default_rng(0)
species = np.repeat([0, 1, 2], 100)
crops = rng.normal(size=(300, 2)) + np.array([[0, 0], [2, 0], [0, 2]])[species]
model = LogisticRegression().fit(crops, species)


def calibrated(count):
    """Whether so many held-out crops are enough, or the error."""
    chosen = rng.choice(300, count, replace=False)
    wanted = SplitConformalClassifier(model, confidence_level=0.95, prefit=True)
    try:
        wanted.conformalize(crops[chosen], species[chosen])
        wanted.predict_set(crops)
    except ValueError as error:
        return f"refused: {' '.join(str(error).split())}"
    return "taken"


print("MAPIE", version("mapie"), "1 / (1 - 0.95) =", repr(1 / (1 - 0.95)))
results = {count: calibrated(count) for count in (10, 18, 19, 20, 21)}
for count, result in results.items():
    print(count, result)
assert all(results[count].startswith("refused: Number of samples of the score is too low") for count in (10, 18, 19))
assert results[20] == results[21] == "taken"
PYTHON
