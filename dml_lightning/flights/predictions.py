"""Reading what `dml predict` wrote, and whether it belongs to a gallery."""

from pathlib import Path

import numpy as np
import pandas as pd

from dml_lightning.gallery.gallery import Gallery

NEEDED_COLUMNS = ("group", "annotation", "label", "distance_trained", "decision", "rule", "gallery")
TEXT_COLUMNS = (  # a class may be called 1 or NA
    *("group", "annotation", "label", "label_prototype", "label_radius", "label_knn"),
    *("neighbours", "neighbour_labels", "decision", "rule", "rule_origin", "gallery"),
)


def read_predictions(path: Path, gallery: Gallery) -> pd.DataFrame:
    """Reads a table of predictions, .csv or .parquet.

    Raises:
        ValueError: If there is no such table, it is not one of predictions, or it was made with another gallery.
    """
    if not path.is_file() or path.suffix not in (".csv", ".parquet"):
        raise ValueError(f"--predictions {path}: give the .csv or .parquet file that dml predict wrote.")
    try:
        if path.suffix == ".csv":
            table = pd.read_csv(path, dtype=dict.fromkeys(TEXT_COLUMNS, str), keep_default_na=False)
        else:
            table = pd.read_parquet(path)
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} cannot be read ({error}).") from None
    missing = [name for name in NEEDED_COLUMNS if name not in table]
    if missing or table.empty:
        lack = f"lacks {', '.join(missing)}" if missing else "has no rows"
        raise ValueError(f"{path} is not what dml predict writes: it {lack}.")
    made = [version for version in table["gallery"].unique() if version != gallery.version]
    if made:
        raise ValueError(
            f"{path} was made with the gallery {made[0]}, which is {gallery.version} since something was enrolled, "
            "removed, recalibrated or trained: predict again."
        )
    strangers = sorted(set(table["label"]) - set(gallery.names))
    if strangers:
        raise ValueError(f"{path} names {strangers[0]!r}, which the gallery lacks: predict again.")
    table["rule"] = table["rule"].str.partition(":")[0]  # version 0.1 wrote "C: how it was chosen"
    rules = sorted(table["rule"].unique())
    if len(rules) > 1:
        raise ValueError(f"{path} was decided by several rules, {' and '.join(rules)}: predict again.")
    check_threshold(table, gallery, rules[0])
    return table


def rule_of(table: pd.DataFrame) -> str:
    """The rule that decided."""
    return str(table["rule"].iloc[0])


def check_threshold(table: pd.DataFrame, gallery: Gallery, rule: str) -> None:
    """Refuses predictions by another threshold than the gallery's.

    Raises:
        ValueError: If there is no such rule, or it has another threshold.
    """
    now = gallery.threshold(rule).value
    used = table.get(f"threshold_{rule}", pd.Series(dtype=float)).astype(float)
    if used.empty or not np.isclose(used, now, rtol=1e-9, atol=0).all():
        raise ValueError(
            f"the predictions were made with another threshold of rule {rule} than the gallery's {now:g}: "
            "predict again."
        )
