"""Effort: every frame that was flown, also without a box or unreadable, in a table beside that of the predictions."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from dml_lightning.data.frames import FrameError, read_frame
from dml_lightning.data.sources import Reading
from dml_lightning.types import OnBadFrame

SUFFIX = ".frames.csv"
FIRST_ROW = 2  # of a table whose row 1 holds the names of the columns
FRAME_COLUMNS = ("frame", "group", "boxes", "used", "reason", "min_score", "rule", "gallery")


def frames_path(predictions: Path) -> Path:
    """Path of the table of frames that belongs to a table of predictions.

    Example:
        >>> frames_path(Path("night/predictions.csv")).as_posix()
        'night/predictions.frames.csv'
    """
    return predictions.with_name(predictions.stem + SUFFIX)


def check_predictions(path: Path) -> None:
    """Refuses what is no file of predictions, before it is read.

    Raises:
        ValueError: If there is no such file, it has another ending, or it is the table of frames.
    """
    if not path.is_file() or path.suffix not in (".csv", ".parquet"):
        raise ValueError(f"--predictions {path}: give the .csv or .parquet file that dml predict wrote.")
    if path.name.endswith(SUFFIX):
        raise ValueError(f"--predictions {path} is the table of frames: give that of the boxes.")


def open_frames(frames: Iterable[str], on_bad_frame: OnBadFrame, bad: dict[str, str]) -> None:
    """Reads the pixels of frames without a box: one that cannot be read is no frame without a bird.

    Args:
        frames: Paths of the frames.
        on_bad_frame: Whether a frame that cannot be read raises ("stop"), or is noted ("skip").
        bad: Receives the reason by frame.

    Raises:
        FrameError: If a frame cannot be read and on_bad_frame is "stop".
    """
    for frame in frames:
        try:
            read_frame(Path(frame))
        except FrameError as error:
            if on_bad_frame == "stop":
                raise
            bad[frame] = str(error)


def frames_table(
    reading: Reading, boxes: Mapping[str, int], bad: Mapping[str, str], rule: str, gallery: str
) -> pd.DataFrame:
    """Lists every frame of a data set that was predicted.

    Args:
        reading: Data set as read.
        boxes: Number of predicted boxes by frame.
        bad: Reason by frame, for frames whose pixels could not be used.
        rule: Rule that decided.
        gallery: Version of the gallery.

    Returns:
        A table with the columns `FRAME_COLUMNS`; `boxes` is 0 where none was found or the frame was not used, and
        `reason` says why it was not.
    """
    table = pd.concat([reading.frames.assign(reason=""), reading.unused], ignore_index=True)
    table["reason"] = [bad.get(frame) or reason for frame, reason in zip(table["frame"], table["reason"], strict=True)]
    return table.assign(
        boxes=[boxes.get(frame, 0) for frame in table["frame"]],
        used=table["reason"] == "",
        min_score=float("nan") if reading.min_score is None else reading.min_score,
        rule=rule,
        gallery=gallery,
    )[list(FRAME_COLUMNS)]


def read_frames(predictions: Path) -> pd.DataFrame | None:
    """Reads the table of frames beside a table of predictions; None where there is none.

    Raises:
        ValueError: If the file is no such table.
    """
    path = frames_path(predictions)
    if not path.is_file():
        return None
    text = dict.fromkeys(("frame", "group", "reason", "rule", "gallery"), str)
    try:
        table = pd.read_csv(path, dtype=text, keep_default_na=False, na_values={"min_score": [""]})
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} cannot be read ({error}).") from None
    missing = [name for name in FRAME_COLUMNS if name not in table]
    if missing or table.empty:
        lack = f"lacks {', '.join(missing)}" if missing else "has no rows"
        raise ValueError(f"{path} is not what dml predict writes: it {lack}.")
    if (lost := table["used"].astype(bool) & (table["group"] == "")).any():
        row = table.index[lost][0] + FIRST_ROW
        raise ValueError(f"{path} row {row} has no group: it must be the name of a flight.")
    if table["min_score"].dtype.kind not in "fi":
        raise ValueError(f"{path} is not what dml predict writes: min_score must be a number or empty.")
    if table["used"].dtype != bool or table["boxes"].dtype.kind != "i":
        raise ValueError(f"{path} is not what dml predict writes: used must be True or False, boxes a whole number.")
    if (twice := table["frame"].duplicated()).any():
        row = table.index[twice][0] + FIRST_ROW
        raise ValueError(f"{path} row {row} lists {table['frame'][twice].iloc[0]} once more.")
    return table


def check_same(path: Path, table: pd.DataFrame, frames: pd.DataFrame) -> None:
    """Checks that a table of predictions has the boxes in each frame, of the same flight, that the table of frames has.

    Raises:
        ValueError: If they differ, a frame that was not used has boxes, or they are of different galleries or rules.
    """
    beside = frames_path(path)
    if "frame" not in table:
        raise ValueError(f"{path} is not what dml predict writes: it lacks frame.")
    found = table["frame"].value_counts()
    stated = frames.set_index("frame")["boxes"].where(frames["used"].to_numpy(), 0)
    numbers = found.reindex(found.index.union(stated.index), fill_value=0)
    wrong = numbers[numbers != stated.reindex(numbers.index, fill_value=0)]
    if len(wrong):
        frame = wrong.index[0]
        raise ValueError(
            f"{path} has {wrong.iloc[0]} boxes of {frame} and {beside.name} {stated.get(frame, 0)}: rows were added or "
            "removed, or one of the two files is of another call of dml predict; predict again."
        )
    flights = table["frame"].map(frames.set_index("frame")["group"])
    if (moved := (flights != table["group"]).to_numpy()).any():
        row = table[moved].iloc[0]
        raise ValueError(
            f"{path} has {row['frame']} in the flight {row['group']}, and {beside.name} in {flights[moved].iloc[0]}: "
            "give a flight the same name in both files."
        )
    for name in ("rule", "gallery"):
        if len(table) and (both := {*table[name], *frames[name]} - {table[name].iloc[0]}):
            raise ValueError(f"{path} and {beside.name} differ in {name}, {table[name].iloc[0]} and {both.pop()}.")
