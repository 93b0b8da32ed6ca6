"""Corrected predictions as further crops to train on, which never reach validation, test or calibration."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import pandas as pd

from dml_lightning.data.sources.base import Reading
from dml_lightning.data.sources.checks import identical_frames
from dml_lightning.data.table import TABLE_COLUMNS, validate_table


def with_corrected(table: pd.DataFrame, frames: pd.DataFrame, corrected: Sequence[Reading]) -> pd.DataFrame:
    """Adds the boxes of known classes of corrected data sets to the training split.

    Names that a model proposed and a person accepted favour that model, and so must not measure it or another one.

    Args:
        table: Crop table of the data set itself.
        frames: All frames of that data set, columns frame and group.
        corrected: Data sets whose labels were corrected; boxes of other classes, such as "unknown", are left out.

    Returns:
        A validated crop table in frame order.

    Raises:
        ValueError: If a corrected frame is one of the data set itself or of an earlier corrected one, or has the same
            bytes as one, if its group is not in training there, or if no corrected box is of a known class.
    """
    known = sorted(table.loc[table["role"] == "known", "label"].unique())
    held_out = _held_out(table)
    parts = [table]
    for reading in corrected:
        _refuse_own_frames(reading, frames)
        frames = pd.concat([frames, reading.frames])  # two corrections of a frame would train on it twice
        rows = reading.table[reading.table["label"].isin(known)].assign(role="known", split="train")
        if rows.empty:
            labels = ", ".join(sorted(reading.table["label"].unique()))
            raise ValueError(f"A corrected data set has no box of {', '.join(known)}; its labels are {labels}.")
        for group in rows["group"].unique():
            own = next((name for name in _names(group) if name in held_out), None)
            if own is not None:
                raise ValueError(
                    f"The group {own!r} of a corrected data set is in the split {held_out[own]}: a corrected frame "
                    "may only be trained on, with all of its group."
                )
        parts.append(rows)
    joined = pd.concat(parts).sort_values("frame", kind="stable", ignore_index=True)[list(TABLE_COLUMNS)]
    validate_table(joined)
    return joined


def _held_out(table: pd.DataFrame) -> dict[str, str]:
    """Split by group, of the groups without a crop to train on."""
    others = table[~table["group"].isin(table.loc[table["split"] == "train", "group"])]
    return dict(others[["group", "split"]].itertuples(index=False, name=None))


def _names(group: str) -> list[str]:
    """A group that is named by the folder of its frames, from each folder above.

    Example:
        >>> _names("../night/flight_1")
        ['../night/flight_1', 'night/flight_1', 'flight_1']
    """
    parts = PurePosixPath(group).parts
    return [group, *(str(PurePosixPath(*parts[start:])) for start in range(1, len(parts)))]


def _refuse_own_frames(reading: Reading, frames: pd.DataFrame) -> None:
    """Refuses corrected frames that are there already, by their path or by their bytes."""
    own = dict.fromkeys(map(Path, frames["frame"]), "own")
    others = dict.fromkeys(map(Path, reading.frames["frame"]), "corrected")
    for path in others:
        if path in own:
            raise ValueError(
                f"The corrected frame {path} is one of the data set itself, or is corrected twice: correct it there, "
                "or leave it out here."
            )
    for first, other in identical_frames({**own, **others}):
        raise ValueError(
            f"A corrected data set and another one have a frame with the same bytes, {first} and {other}: leave one of "
            "them out."
        )
