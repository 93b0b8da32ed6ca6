"""Independent units of a table of runs: what counts as one observation.

Runs of one seed share their initialisation and batches, runs of one fold share their test classes. A cell of seed and
fold is therefore not an independent observation: 95 % intervals over cells covered the truth in 73 % of cases.
Averaging over one factor leaves the other as the unit, which determines what the claim is about (Bouthillier et al.,
MLSys 2021).

Folds share data (Nadeau and Bengio, Machine Learning 52, 2003), so only some of them can be tested. Folds by classes
test each species once: in worlds without a difference the sign-flip test of `novel_` numbers at 5 % named a winner in
0.2 to 5.6 %, though their training sets overlap. The known species of those folds are mostly the same ones, and folds
by groups split the same flights again: there 26 and 9 % of such worlds got a winner with 6 folds, 71 and 31 % with 12.
`novel_oscr` counts right names of known species, too: 21 and 40 % (`benchmarks/results/fold_tests.md`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

InferenceUnit = Literal["seed", "fold"]
Folds = Literal["groups", "classes"]
NOT_INDEPENDENT = (
    "Only folds by classes, in a number of their novel classes (novel_... but novel_oscr), are independent: others "
    "share flights or known classes."
)
UNITS: tuple[InferenceUnit, ...] = ("seed", "fold")


def units_are_independent(unit: InferenceUnit, fold_by: Folds, metric: str) -> bool:
    """Whether the units may be tested: seeds, and folds by classes in a number of their novel species.

    Args:
        unit: Inference unit.
        fold_by: What is new in the test of a fold: `groups` (flights are split anew) or `classes`.
        metric: Name of the number.

    Example:
        >>> metrics = "novel_map_at_r", "novel_oscr", "map_at_r"
        >>> [units_are_independent("fold", "classes", metric) for metric in metrics]
        [True, False, False]
    """
    of_novel = metric.startswith("novel") and "oscr" not in metric  # OSCR is at most the accuracy over known species
    return unit == "seed" or (fold_by == "classes" and of_novel)


def unit_means(table: pd.DataFrame, metric: str, unit: InferenceUnit = "seed") -> pd.DataFrame:
    """Means over the other factor, with a row per unit and a column per arm in order of appearance.

    NaN marks a unit that is not complete in that arm: a run is absent or its metric is not finite. A complete unit has
    every level of the other factor that occurs anywhere in the table; otherwise arms would be averaged over different
    runs.

    Args:
        table: Table with a row per run and the columns arm, seed, fold and `metric`.
        metric: Name of the column of values.
        unit: "seed": folds are averaged. "fold": seeds are averaged.

    Raises:
        ValueError: If a column is missing, a cell comes twice, or the unit is neither of the two.

    Example:
        >>> rows = [("a", 0, 0, 0.5), ("a", 0, 1, 0.7), ("a", 1, 0, 0.6)]  # the last seed lacks fold 1
        >>> import pandas as pd
        >>> unit_means(pd.DataFrame(rows, columns=["arm", "seed", "fold", "auroc"]), "auroc")["a"].tolist()
        [0.6, nan]
    """
    if unit not in UNITS:
        raise ValueError(f'unit must be "seed" or "fold", got {unit!r}.')
    missing = [name for name in ("arm", "seed", "fold", metric) if name not in table]
    if missing:
        raise ValueError(
            f"the table of runs lacks the column(s) {', '.join(missing)}; it has {', '.join(map(str, table))}."
        )
    repeated = table[table.duplicated(["arm", "seed", "fold"])]
    if len(repeated):
        arm, seed, fold = repeated[["arm", "seed", "fold"]].iloc[0]
        raise ValueError(f"arm {arm}, seed {seed}, fold {fold} comes twice: keep one run per arm, seed and fold.")
    averaged = "fold" if unit == "seed" else "seed"
    finite = table.assign(value=table[metric].astype(float).where(lambda v: np.isfinite(v)))
    cells = finite.pivot(index=["arm", unit], columns=averaged, values="value")
    return cells.mean(axis=1, skipna=False).unstack("arm")[table["arm"].unique()]


def complete(means: pd.DataFrame, *arms: str) -> tuple[NDArray[np.float64], int]:
    """Values (n, len(arms)) of the units that are complete in all of `arms`, and the number of units dropped.

    Args:
        means: Result of `unit_means`.
        arms: Names of some of its columns.

    Raises:
        ValueError: If fewer than two units are left.

    Example:
        >>> import pandas as pd
        >>> complete(pd.DataFrame({"a": [0.6, 0.7, np.nan], "b": [0.5, 0.4, 0.6]}), "a", "b")
        (array([[0.6, 0.5],
               [0.7, 0.4]]), 1)
    """
    kept = means[list(arms)].dropna().to_numpy(dtype=float)
    if len(kept) < 2:
        unit, named = means.index.name, " and ".join(arms)
        raise ValueError(
            f"{named}: {len(kept)} of {len(means)} {unit}s complete, and a comparison needs two or more: "
            f"run more {unit}s, repeat the failed runs, or leave the arm out."
        )
    return kept, len(means) - len(kept)


def check_margin(margin: float) -> None:
    """Refuse a margin that is no number above 0.

    Raises:
        ValueError: With the margin.
    """
    if not 0 < margin < float("inf"):
        raise ValueError(f"margin must be a number above 0, got {margin}: the largest difference that counts as none.")
