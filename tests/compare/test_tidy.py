"""The tidy table of a comparison."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dml_lightning.compare.tidy import tidy, write_tidy
from tests.compare.experiments import experiment, table_of


def results(folder: Path) -> pd.DataFrame:
    """A comparison's folder with results, of which one run lacks a number."""
    table = table_of(experiment()).assign(run="runs/a", ood_auroc=0.75).replace({"arm": {"triplet": "NA"}})
    table.loc[3, "ood_auroc"] = np.nan
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "comparison.csv", index=False)
    return table


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_every_number_of_every_run_has_a_row(tmp_path: Path, ending: str) -> None:
    table, path = results(tmp_path / "ours"), tmp_path / f"tidy.{ending}"
    rows = write_tidy(tmp_path / "ours", path)
    assert len(rows) == 2 * len(table) - 1
    back = pd.read_csv(path, keep_default_na=False, na_values=[""]) if ending == "csv" else pd.read_parquet(path)
    pd.testing.assert_frame_equal(back, rows, check_dtype=False)
    wide = back.pivot(index=["arm", "seed", "train_per_class"], columns="metric", values="value")
    for row in table.to_dict("records"):
        found = wide.loc[(row["arm"], row["seed"], row["train_per_class"])] if row["train_per_class"] > 0 else None
        if found is not None:
            assert found["map_at_r"] == pytest.approx(row["map_at_r"])
            assert found["ood_auroc"] == pytest.approx(row["ood_auroc"], nan_ok=True)


def test_other_files_and_comparisons_without_results_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ours has no results yet"):
        write_tidy(tmp_path / "ours", tmp_path / "tidy.csv")
    results(tmp_path / "ours")
    with pytest.raises(ValueError, match=r"name the \.csv or \.parquet file"):
        write_tidy(tmp_path / "ours", tmp_path / "tidy.xlsx")
    with pytest.raises(ValueError, match="is what the command reads"):
        write_tidy(tmp_path / "ours", tmp_path / "ours" / "comparison.csv")
    assert tidy(table_of(experiment()).assign(run="a", recall=np.nan))["metric"].unique().tolist() == ["map_at_r"]
