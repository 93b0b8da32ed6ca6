"""Doubts about a data set before anything is trained on it: what a person should look at, one sentence each."""

import unicodedata
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dml_lightning.data.frames import Unit
from dml_lightning.data.looks import FrameLook
from dml_lightning.data.pixels import Header
from dml_lightning.data.sources.base import SAME_BYTES, Reading
from dml_lightning.data.sources.checks import identical_frames, warn_of_groups
from dml_lightning.data.sources.report import EXAMPLES_KEPT, ReadReport
from dml_lightning.data.splits import identical_message

SMALLEST_BOX = 3.0  # px, below which a box shows no animal
LARGEST_SHARE = 0.25  # of the frame, above which a box is more than an animal
SAME_PLACE = 0.8  # intersection over union, from which on two boxes are likely one animal
MUCH_MISSING = 0.1  # of a frame's pixels
USUAL = (-40.0, 60.0)  # degC, of a frame's median: 20 K and more inside of what is refused, at the cold end
SHORTEST_NAME = 4  # characters, from which on one edit is likelier a slip than another class
NEEDED_GROUPS = 3  # train, val and test


class Doubt(NamedTuple):
    """One thing to look at."""

    about: str
    sentence: str


def doubts_of(reading: Reading, headers: Mapping[str, Header], looks: Sequence[FrameLook]) -> list[Doubt]:
    """Lists every doubt about a data set.

    Args:
        reading: The data set.
        headers: Of each of its frames.
        looks: At the pixels of some of them.
    """
    return [
        *report_doubts(reading.report),
        *identical_doubts(reading),
        *group_doubts(reading),
        *box_doubts(reading.table, headers),
        *repeat_doubts(reading.table),
        *name_doubts(sorted(set(reading.table["label"]))),
        *empty_doubts(reading),
        *orientation_doubts(headers),
        *unit_doubts(looks),
        *pixel_doubts(looks),
    ]


def report_doubts(report: ReadReport) -> list[Doubt]:
    """What the reader left out or changed, with the first files and rows of each kind."""
    results = []
    for about, counts in (("left out", report.skipped), ("noted", report.changed)):
        for reason, count in sorted(counts.items()):
            if reason != SAME_BYTES:  # told with what would work
                results.append(Doubt(about, f"{count}: {reason} ({'; '.join(report.examples[reason])})."))
    return results


def identical_doubts(reading: Reading) -> list[Doubt]:
    """Frames with the same bytes, in two groups or in one."""
    groups = dict(zip(map(Path, reading.frames["frame"]), reading.frames["group"], strict=True))
    pairs = identical_frames({path: str(path) for path in groups})
    within = [pair for pair in pairs if groups[pair[0]] == groups[pair[1]]]
    results = []
    if reading.identical:
        results.append(Doubt("identical frames", f"{identical_message(reading.identical)} Training refuses them."))
    if within:
        results.append(
            Doubt(
                "identical frames",
                f"{len(within)} frame(s) have the same bytes as another frame of their group, the first being "
                f"{within[0][1]} and {within[0][0]}: their boxes count twice, remove the copies.",
            )
        )
    return results


def group_doubts(reading: Reading) -> list[Doubt]:
    """Groups that protect no split, by the reader's own sentences, and too few of them to split."""
    report = ReadReport()
    warn_of_groups(dict(zip(map(Path, reading.frames["frame"]), reading.frames["group"], strict=True)), report)
    results = [Doubt("warning", each) for each in dict.fromkeys([*reading.report.warnings, *report.warnings])]
    names = sorted(reading.frames["group"].unique())
    if len(names) < NEEDED_GROUPS:
        results.append(
            Doubt(
                "groups",
                f"the {len(reading.frames)} frames lie in {len(names)} group(s) ({', '.join(names)}), and train, val "
                f"and test need at least {NEEDED_GROUPS}: set group_by to what names a flight, or add flights.",
            )
        )
    return results


def box_doubts(table: pd.DataFrame, headers: Mapping[str, Header]) -> list[Doubt]:
    """Boxes that are much smaller or larger than an animal; pictures that are one box each are crops, not frames."""
    areas = table["frame"].map({frame: header.size[0] * header.size[1] for frame, header in headers.items()})
    shares = table["width"] * table["height"] / areas
    small = table[table[["width", "height"]].min(axis=1) < SMALLEST_BOX]
    crops = bool((shares > 0.999).all())
    large = table[:0] if crops else table[shares > LARGEST_SHARE]
    results = []
    if len(small):
        what = f"have a side below {SMALLEST_BOX:g} px, the first being {_place(small)}: are they in px?"
        results.append(Doubt("small boxes", f"{len(small)} of {len(table)} boxes {what}"))
    if len(large):
        what = f"cover more than a quarter of their frame, the first being {_place(large)}: are they single animals?"
        results.append(Doubt("large boxes", f"{len(large)} of {len(table)} boxes {what}"))
    return results


def _place(rows: pd.DataFrame) -> str:
    """Where the first box lies."""
    row = rows.iloc[0]
    return f"{row['label']} in {row['frame']} at x {row['x']:g}, y {row['y']:g}, {row['width']:g}x{row['height']:g} px"


def repeat_doubts(table: pd.DataFrame) -> list[Doubt]:
    """Boxes that nearly repeat another one of their frame."""
    repeats = repeated_boxes(table)
    if not len(repeats):
        return []
    first = table.iloc[repeats[:1]]
    return [
        Doubt(
            "repeated boxes",
            f"{len(repeats)} box(es) overlap another one of their frame by {SAME_PLACE:.0%} and more, the first being "
            f"{_place(first)}: one animal counts twice, and its crops may differ in their label.",
        )
    ]


def repeated_boxes(table: pd.DataFrame) -> NDArray[np.int64]:
    """Rows (M,) whose intersection over union with another box of their frame reaches `SAME_PLACE`, ascending.

    Boxes are compared with those that begin to their right until none begins inside of them.

    >>> box = {"frame": "a", "x": 0.0, "y": 0.0, "width": 10.0, "height": 10.0}
    >>> repeated_boxes(pd.DataFrame([box, box | {"x": 50.0}, box | {"x": 1.0}])).tolist()
    [2]
    """
    frames, _ = pd.factorize(table["frame"])
    order = np.lexsort((table["x"], frames))
    frames = frames[order]
    x, y, width, height = table[["x", "y", "width", "height"]].to_numpy(np.float64)[order].T
    repeats, left, step = set[int](), np.arange(len(order)), 1
    while len(left := left[left + step < len(order)]):
        right = left + step
        near = (frames[left] == frames[right]) & (x[right] < x[left] + width[left])
        left, right = left[near], right[near]
        across = np.minimum(x[left] + width[left], x[right] + width[right]) - x[right]
        down = np.minimum(y[left] + height[left], y[right] + height[right]) - np.maximum(y[left], y[right])
        shared = across * down.clip(0)
        union = width[left] * height[left] + width[right] * height[right] - shared
        both = shared >= SAME_PLACE * union
        repeats |= set(np.maximum(order[left[both]], order[right[both]]).tolist())
        step += 1
    return np.array(sorted(repeats), np.int64)


def name_doubts(names: Sequence[str]) -> list[Doubt]:
    """Pairs of class names that differ in case, spaces or hyphens alone, or by one edit."""
    return [
        Doubt("class names", f"the classes {first!r} and {other!r} have nearly one name: are they one class?")
        for first, other in combinations(names, 2)
        if _essence(first) == _essence(other) or one_edit(_essence(first), _essence(other))
    ]


def _essence(name: str) -> str:
    return "".join(each for each in unicodedata.normalize("NFKC", name).casefold() if each not in " _-.")


def one_edit(first: str, other: str) -> bool:
    """Whether one letter is added, left out, changed or swapped with the next; numbers and short names count not.

    >>> one_edit("mallard", "malard"), one_edit("goose1", "goose2"), one_edit("mallard", "garganey")
    (True, False, False)
    """
    start = _shared(first, other)
    end = _shared(first[start:][::-1], other[start:][::-1])
    rests = first[start : len(first) - end], other[start : len(other) - end]
    if min(len(first), len(other)) < SHORTEST_NAME or any(map(str.isdigit, rests)):
        return False
    return max(map(len, rests)) <= 1 or (len(rests[0]) == 2 and rests[0] == rests[1][::-1])


def _shared(first: str, other: str) -> int:
    """Number of letters with which both begin."""
    pairs = enumerate(zip(first, other, strict=False))
    return next((place for place, (one, two) in pairs if one != two), min(len(first), len(other)))


def empty_doubts(reading: Reading) -> list[Doubt]:
    """Frames without any box or other mark."""
    marked = {*reading.table["frame"], *reading.obstacles["frame"]}
    empty = [frame for frame in reading.frames["frame"] if frame not in marked]
    if not empty:
        return []
    return [
        Doubt(
            "frames without boxes",
            f"{len(empty)} of {len(reading.frames)} frames have no box, the first being {empty[0]}: they count as "
            "ground without animals, so leave them out if nobody has annotated them.",
        )
    ]


def orientation_doubts(headers: Mapping[str, Header]) -> list[Doubt]:
    """Frames that a tag turns or mirrors."""
    turned = [(frame, header.orientation) for frame, header in headers.items() if header.orientation != 1]
    if not turned:
        return []
    return [
        Doubt(
            "orientation",
            f"{len(turned)} of {len(headers)} frames are turned or mirrored by their orientation tag, the first being "
            f"{turned[0][0]} (tag {turned[0][1]}): boxes are taken to be drawn on the upright picture.",
        )
    ]


def unit_doubts(looks: Sequence[FrameLook]) -> list[Doubt]:
    """Counts that nothing turns into degC, two units in one set, and temperatures that few scenes have."""
    by_unit: dict[Unit, list[FrameLook]] = {}
    for look in looks:
        by_unit.setdefault(look.unit, []).append(look)
    results = []
    for look in by_unit.get("counts", [])[:1]:
        results.append(
            Doubt(
                "units",
                f"{len(by_unit['counts'])} of {len(looks)} frames hold counts without a scale to degC, the first being "
                f"{look.frame}: normalisation by a fixed window is closed to them unless a radiometry is given.",
            )
        )
    if len(by_unit) > 1:
        examples = " and ".join(f"{each[0].frame} in {unit}" for unit, each in by_unit.items())
        results.append(Doubt("units", f"the frames hold two units, {examples}: training takes one."))
    odd = [look for look in by_unit.get("degC", []) if not USUAL[0] <= look.median <= USUAL[1]]
    for look in odd[:1]:
        results.append(
            Doubt(
                "units",
                f"{len(odd)} of {len(looks)} frames have a median outside of {USUAL[0]:g} to {USUAL[1]:g} degC, the "
                f"first being {look.frame} with {look.median:.1f} degC: does the radiometry fit the camera?",
            )
        )
    return results


def pixel_doubts(looks: Sequence[FrameLook]) -> list[Doubt]:
    """Frames that lack many pixels, or show one value alone."""
    results = []
    holes = [look for look in looks if look.missing > MUCH_MISSING]
    for look in holes[:1]:
        results.append(
            Doubt(
                "missing pixels",
                f"{len(holes)} of {len(looks)} frames lack more than {MUCH_MISSING:.0%} of their pixels, the first "
                f"being {look.frame} with {look.missing:.0%}: crops that lack most of theirs are refused.",
            )
        )
    flat = [look for look in looks if look.low == look.high]
    for look in flat[:1]:
        what = f"show one value alone, the first being {look.frame} with {look.low:g} {look.unit}: was the lens closed?"
        results.append(Doubt("flat frames", f"{len(flat)} of {len(looks)} frames {what}"))
    return results


def unreadable_doubts(bad: Sequence[str], tried: int) -> list[Doubt]:
    """Frames whose headers are fine and whose pixels cannot be read, by the messages of their errors."""
    if not bad:
        return []
    return [Doubt("unreadable frames", f"{len(bad)} of {tried} frames cannot be read: {' '.join(bad[:EXAMPLES_KEPT])}")]
