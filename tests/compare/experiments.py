"""An experiment of two arms, and the table of its runs."""

from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from dml_lightning.compare.experiment import Arm, Experiment


def experiment(**changes: Any) -> Experiment:
    return Experiment(
        **{
            "name": "ours",
            "shared": [],
            "arms": {"softmax": Arm([]), "triplet": Arm([])},
            "primary": "map_at_r",
            "baseline": "softmax",
            "unit": "seed",
            "seeds": [0, 1, 2],
            "folds": [0],
            "fold_by": "groups",
            "train_per_class": [5, 20, None],
            "search": None,
            "overrides": [],
            "out": "runs",
            **changes,
        }
    )


def table_of(asked: Experiment) -> pd.DataFrame:
    """A row per run, as `run_table` makes it."""
    rng = np.random.default_rng(0)
    cells = product(asked.train_per_class, asked.seeds, asked.arms)
    rows = [
        {
            "arm": arm,
            "seed": seed,
            "fold": 0,
            "train_per_class": np.nan if size is None else float(size),
            "map_at_r": rng.uniform(0.4, 0.6),
        }
        for size, seed, arm in cells
    ]
    return pd.DataFrame(rows)
