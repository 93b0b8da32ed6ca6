"""What a data set holds, as lines of text: frames, groups, boxes by class, pixels by kind of frame."""

import pandas as pd

from dml_lightning.data.looks import FrameLook
from dml_lightning.data.pixels import Header
from dml_lightning.data.sources import Reading
from dml_lightning.printing import listed, printable

MOST_LISTED = 8  # groups, sizes and kinds of frames that are listed


def contents(reading: Reading, headers: dict[str, Header]) -> list[str]:
    """Lines about frames, groups and boxes."""
    sizes = pd.Series([f"{width}x{height} px" for (width, height), _ in headers.values()]).value_counts()
    groups = reading.frames["group"].value_counts(sort=False)
    table = reading.table.assign(side=reading.table[["width", "height"]].max(axis=1))
    lines = [f"  frames: {_counted(sizes)}", f"  {len(groups)} groups (frames): {_counted(groups)}"]
    lines.append(f"  {'class':<24} {'boxes':>7} {'groups':>7}   longer side, smallest, median and largest (px)")
    for label, rows in table.groupby("label"):
        side = rows["side"]
        numbers = f"{len(rows):>7} {rows['group'].nunique():>7}   "
        lines.append(f"  {printable(str(label)):<24} {numbers}{side.min():.4g}  {side.median():.4g}  {side.max():.4g}")
    return lines


def _counted(counts: "pd.Series[int]") -> str:
    """Names with their counts, the first few of them."""
    return listed([f"{name} ({count})" for name, count in counts.items()], MOST_LISTED)


def pixels(looks: list[FrameLook], frames: int) -> list[str]:
    """Lines about the pixels of each kind of frame."""
    seen = "all frames" if len(looks) == frames else f"{len(looks)} of {frames} frames, evenly spaced"
    lines = [f"  pixels of {seen}:"]
    table = pd.DataFrame(looks)
    for (kind, unit), rows in table.groupby(["kind", "unit"]):
        span = f"{rows['low'].min():.6g} to {rows['high'].max():.6g} {unit}, median {rows['median'].median():.6g}"
        missing = f", {rows['missing'].mean():.1%} missing" if rows["missing"].any() else ""
        lines.append(f"  {kind} ({len(rows)}): {span}{missing}")
    return lines
