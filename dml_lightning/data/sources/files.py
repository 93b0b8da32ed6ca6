"""Frames on disk: listing them, finding the one that an annotation names, reading their sizes."""

import os
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote

from dml_lightning.data.frames import FRAME_SUFFIXES, FrameError, frame_size
from dml_lightning.data.sources.report import ReadReport
from dml_lightning.types import OnBadFrame


def absolute(path: str | Path) -> Path:
    """Makes a path absolute and removes "..", but does not follow symbolic links."""
    return Path(os.path.abspath(path))  # noqa: PTH100  # Path.resolve would follow the links


def check_root(root: Path) -> None:
    """Raises ValueError unless the root is a folder that can be listed."""
    try:
        what = "is no folder" if root.exists() else "does not exist"
        if root.is_dir():
            what = "" if os.access(root, os.R_OK | os.X_OK) else "cannot be read (permissions)"
    except PermissionError:
        what = "cannot be read (permissions of a folder above it)"
    if what:
        raise ValueError(f"{root} {what}: give the folder that holds the data set.")


def list_frames(folder: Path, recursive: bool = True) -> list[Path]:
    """Lists the pictures of a folder by their suffix, in either case; leaves hidden files out."""
    paths = folder.rglob("*") if recursive else folder.glob("*")
    return sorted(
        path
        for path in paths
        if path.suffix.lower() in FRAME_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def frame_names(stem: str) -> list[str]:
    """Names that a frame may have whose suffix an annotation leaves out, in a fixed order.

    >>> frame_names("DJI_0001")[-1]
    'DJI_0001.tiff'
    """
    return [stem + suffix for suffix in sorted(FRAME_SUFFIXES)]


class Listed(NamedTuple):
    """The name that an annotation gives a frame, and the file to which this name leads."""

    name: str
    path: Path
    where: str  # file and row or id
    parts: int  # last parts of the name that the path shares; 0 for all of them

    @property
    def bare(self) -> bool:
        """Whether the path shares only the last part of a name with folders."""
        return self.parts == 1


class FrameFinder:
    """Finds the frames that annotations name, and refuses names that may mean another frame.

    A name is looked for as it is (with either slash), then without its first folders, as paths of another computer
    require; the suffix may be in another case. Two names may not lead to one file, and a file that shares only the
    last part of a name is accepted only where no other name has that last part: `flight_2/DJI_0001.tif` is never read
    from the `DJI_0001.tif` of another flight.
    """

    def __init__(self) -> None:
        self._by_path: dict[Path, Listed] = {}
        self._by_last: dict[str, list[Listed]] = {}
        self._answers: dict[tuple[str, tuple[Path, ...], tuple[Path, ...], tuple[str, ...]], Path] = {}

    def find(
        self,
        name: str,
        folders: Sequence[Path],
        where: str,
        *,
        own: Sequence[Path] = (),
        also: Sequence[str] = (),
        once: bool = False,
    ) -> Path:
        """Finds the frame of one name.

        Args:
            name: Name of the frame in the annotation.
            folders: Folders in which frames may lie, of equal rank.
            where: File and row or id of the annotation, for messages.
            own: Folders that are tried before all others, such as those of one split.
            also: Other names to try where no file has the first one.
            once: Whether the layout lists a frame only once, so that another listing is an error.

        Returns:
            Path of the frame, or, where there is none, its expected path below the first folder.

        Raises:
            ValueError: The name fits files in several folders, or its file has another name in another annotation, or
                is listed twice.
        """
        question = (name, tuple(folders), tuple(own), tuple(also))
        if not once and question in self._answers:  # a table names a frame once for each of its boxes
            return self._answers[question]
        names = [each.replace("\\", "/") for each in (name, *also)]
        tried = (_locate(each, folders, own, where) for each in names)
        listed = next(filter(None, tried), None) or Listed("", absolute([*folders, *own][0] / names[0]), where, 0)
        listed = listed._replace(name=names[0])
        earlier = self._by_path.get(listed.path)
        if earlier is None:
            self._check_namesakes(listed)
            self._by_path[listed.path] = listed
            self._by_last.setdefault(listed.path.name, []).append(listed)
        elif (listed.parts or earlier.parts) and os.path.normpath(listed.name) != os.path.normpath(earlier.name):
            raise ValueError(
                f"{where}: two names end on one file, {earlier.name!r} ({earlier.where}) and {listed.name!r} on "
                f"{listed.path}: put each frame into the folder that its name has."
            )
        elif once:
            raise ValueError(f"{where} and {earlier.where} are both about {listed.path}: keep one of them.")
        self._answers[question] = listed.path
        return listed.path

    def _check_namesakes(self, listed: Listed) -> None:
        for other in self._by_last.get(listed.path.name, ()):
            if listed.bare or other.bare:
                wrong, right = (listed, other) if listed.bare else (other, listed)
                raise ValueError(
                    f"{wrong.where}: {wrong.name!r} does not exist, and {wrong.path} may be another frame of that "
                    f"name, as {right.where} names {right.name!r}: put each frame into the folder that its name has."
                )


def _locate(name: str, folders: Sequence[Path], own: Sequence[Path], where: str) -> Listed | None:
    parts = PurePosixPath(name).parts
    for first, places in product(range(max(len(parts), 1)), (own, folders)):
        tail = "/".join(parts[first:]) if first else name
        hits = [hit for folder in dict.fromkeys(places) if (hit := _existing(folder / tail)) is not None]
        if different := [hit for hit in hits[1:] if hit != hits[0] and not hit.samefile(hits[0])]:
            raise ValueError(
                f"{where}: the frame {name!r} may be {hits[0]} or {different[0]}: name the folder of the frames, or "
                "move the others away."
            )
        if hits:
            return Listed(name, hits[0], where, len(parts) - first if first else 0)
    return None


def _existing(path: Path) -> Path | None:
    """Returns the file at a path, or the one whose suffix is in another case; None without either."""
    if path.is_file():
        return absolute(path)
    if not path.suffix:
        return None
    others = (path.with_suffix(suffix) for suffix in (path.suffix.lower(), path.suffix.upper()))
    return next((absolute(other) for other in others if other.is_file()), None)


class NearNames:
    """Finds frames whose names differ from a missing one only in suffix, case, Unicode form or %20, for messages."""

    def __init__(self) -> None:
        self._folders: dict[Path, dict[str, Path]] = {}

    def of(self, missing: Path) -> Path | None:
        """Returns the frame with such a name in the same folder; None where there is none."""
        folder = missing.parent
        if folder not in self._folders:
            frames = list_frames(folder, recursive=False) if folder.is_dir() else []
            self._folders[folder] = {_essence(frame): frame for frame in frames}
        return self._folders[folder].get(_essence(missing))


def _essence(path: Path) -> str:
    return unicodedata.normalize("NFC", unquote(path.stem)).casefold()


def frame_sizes(
    paths: Iterable[Path], on_bad_frame: OnBadFrame, report: ReadReport
) -> tuple[dict[Path, tuple[int, int]], dict[Path, str]]:
    """Reads the sizes of frames from their headers.

    Args:
        paths: Paths of the frames.
        on_bad_frame: Whether an unreadable frame raises ("stop") or is skipped ("skip").
        report: Report that counts missing and unreadable frames.

    Returns:
        Frame -> (width, height) in px, and frame -> reason for those that cannot be used.

    Raises:
        FrameError: A frame cannot be read and on_bad_frame is "stop".
    """
    sizes, unused, near = {}, {}, NearNames()
    for path in paths:
        if not path.is_file():
            other = near.of(path)
            unused[path] = "frame file is missing"
            report.skip(unused[path], f"{path}; there is {other.name}" if other else str(path))
            continue
        try:
            sizes[path] = frame_size(path)
        except FrameError as error:
            if on_bad_frame == "stop":
                raise
            unused[path] = "frame cannot be read"
            report.skip(unused[path], str(error))
    return sizes, unused
