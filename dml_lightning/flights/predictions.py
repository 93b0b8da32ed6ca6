"""Reading a table of `dml predict`, with a check that it was made with a given gallery."""

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
    """Read a table of predictions, .csv or .parquet.

    Args:
        path: File that `dml predict` wrote.
        gallery: Gallery that it must have been made with.

    Raises:
        ValueError: If there is no such file, it is no table of predictions, it was made with another gallery or
            threshold, or by several rules.
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
    unknown = sorted(set(table["label"]) - set(gallery.names))
    if unknown:
        raise ValueError(f"{path} names {unknown[0]!r}, which the gallery lacks: predict again.")
    table["rule"] = table["rule"].str.partition(":")[0]  # version 0.1 wrote "C: how it was chosen"
    rules = sorted(table["rule"].unique())
    if len(rules) > 1:
        raise ValueError(f"{path} was decided by several rules, {' and '.join(rules)}: predict again.")
    check_threshold(table, gallery, rules[0])
    return table


def rule_of(table: pd.DataFrame) -> str:
    """Rule by which a table of predictions was decided.

    Example:
        >>> rule_of(pd.DataFrame({"rule": ["C", "C"]}))
        'C'
    """
    return str(table["rule"].iloc[0])


def check_threshold(table: pd.DataFrame, gallery: Gallery, rule: str) -> None:
    """Check that predictions were made with the gallery's threshold.

    Args:
        table: Table of predictions.
        gallery: Gallery that it was made with.
        rule: Rule whose threshold is compared.

    Raises:
        ValueError: If the gallery has no such rule, or another threshold for it.
    """
    now = gallery.threshold(rule).value
    used = table.get(f"threshold_{rule}", pd.Series(dtype=float)).astype(float)
    if used.empty or not np.isclose(used, now, rtol=1e-9, atol=0).all():
        raise ValueError(
            f"the predictions were made with another threshold of rule {rule} than the gallery's {now:g}: "
            "predict again."
        )
