"""Results of a comparison as one tidy table: a row per run and number, for pandas, plotting and mixed models."""

from pathlib import Path

import pandas as pd

from dml_lightning.files import check_output, replacing
from dml_lightning.stats.results import higher_is_better

RUN = ("arm", "seed", "fold", "train_per_class", "run")  # columns that name a run
ENDINGS = (".csv", ".parquet")


def tidy(table: pd.DataFrame) -> pd.DataFrame:
    """A row per run and number, where a number was measured.

    Args:
        table: A row per run, with the columns `RUN` and one for each number.

    Returns:
        Columns arm, seed, fold, train_per_class (NaN for all crops), run, metric, value and higher_is_better.

    Example:
        >>> run = {"arm": "triplet", "seed": 0, "fold": 0, "train_per_class": None, "run": "runs/a"}
        >>> rows = tidy(pd.DataFrame([{**run, "recall_at_1": 0.9, "aurc": 0.1}]))
        >>> rows[["arm", "metric", "value", "higher_is_better"]].to_numpy().tolist()
        [['triplet', 'recall_at_1', 0.9, True], ['triplet', 'aurc', 0.1, False]]
    """
    rows = table.melt(list(RUN), var_name="metric", value_name="value").dropna(subset="value")
    return rows.assign(higher_is_better=rows["metric"].map(higher_is_better)).reset_index(drop=True)


def write_tidy(folder: Path, path: Path) -> pd.DataFrame:
    """Writes the tidy table of the finished runs of a comparison.

    Args:
        folder: Folder of the comparison.
        path: File to write, .csv or .parquet.

    Raises:
        ValueError: If the file has another ending or would replace one of the comparison's, or there are no results.
    """
    if path.suffix not in ENDINGS:
        raise ValueError(f"--table {path}: name the {' or '.join(ENDINGS)} file to write.")
    source = folder / "comparison.csv"
    check_output("--table", path, [source])
    if not source.is_file():
        raise ValueError(f"{folder} has no results yet: the same command without --table runs the comparison.")
    table = pd.read_csv(source, dtype={"arm": str, "run": str}, keep_default_na=False, na_values=[""])
    rows = tidy(table)
    with replacing(path) as file:
        if path.suffix == ".csv":
            rows.to_csv(file, index=False)
        else:
            rows.to_parquet(file, index=False)
    return rows
