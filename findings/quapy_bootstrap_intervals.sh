#!/usr/bin/env bash
# Guess, before anything was run: quapy's AggregativeBootstrap gives the same interval twice with one random_state, and
# with n_train_samples above 1 the interval widens by the error of the confusion matrix.
# Seen (quapy 0.2.3): two calls with random_state=0 give different intervals, because the draws are made in worker
# processes that the seed does not reach. With n_train_samples=5 the fit raises AttributeError for arrays, so that an
# interval never holds the error of the matrix: the help of the class offers it, and nothing of it can be run.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "quapy==0.2.3" "scikit-learn==1.9.1" "numpy==2.4.6"
cd "$folder"
venv/bin/python -W ignore - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from quapy.method.aggregative import ACC
from quapy.method.confidence import AggregativeBootstrap
from sklearn.linear_model import LogisticRegression

rng = np.random.default_rng(0)
labels = np.repeat([0, 1, 2], 200)
features = rng.normal(size=(600, 2)) + 2 * np.column_stack([labels == 0, labels == 1])
sample = features[:100]  # of the first class alone


def lower_limits(train_samples):
    method = ACC(LogisticRegression())
    quantifier = AggregativeBootstrap(method, n_train_samples=train_samples, n_test_samples=50, random_state=0)
    quantifier.fit(features, labels)
    return quantifier.predict_conf(sample)[1].I_low


print("quapy", version("quapy"))
first, second = lower_limits(1), lower_limits(1)
print("lower limits, twice with random_state=0:", first.round(4), second.round(4))
assert not np.array_equal(first, second), "the seed reaches the draws now"
try:
    lower_limits(5)
except AttributeError as error:
    print("n_train_samples=5:", error)
    assert "sampling_from_index" in str(error)
else:
    raise AssertionError("the matrix can be resampled now")
PYTHON
