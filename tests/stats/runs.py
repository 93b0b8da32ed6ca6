"""Tables of made-up runs."""

import json
from itertools import product

import numpy as np
import pandas as pd

from dml_lightning.stats.comparison import Comparison
from dml_lightning.stats.results import Question


def runs(arms: dict[str, float], seeds: int = 8, folds: int = 2, spread: float = 0.01) -> pd.DataFrame:
    """A row per run: seeds and folds move all arms together, and each run by `spread`."""
    rng = np.random.default_rng(0)
    of_seed, of_fold = rng.normal(0, 0.05, seeds), rng.normal(0, 0.1, folds)
    return pd.DataFrame(
        [
            {
                "arm": arm,
                "seed": seed,
                "fold": fold,
                "map_at_r": 0.5 + gain + of_seed[seed] + of_fold[fold] + rng.normal(0, spread),
            }
            for arm, gain in arms.items()
            for seed, fold in product(range(seeds), range(folds))
        ]
    )


def asked(**changes: object) -> Question:
    return Question(**{"metric": "map_at_r", "baseline": "softmax", **changes})  # type: ignore[arg-type]


def strict(result: Comparison) -> dict[str, object]:
    loaded: dict[str, object] = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    return loaded
