"""Finding frames on disk and reading their sizes."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from dml_lightning.data.frames import FRAME_SUFFIXES, FrameError, frame_size
from dml_lightning.data.sources.report import ReadReport

OnBadFrame = Literal["stop", "skip"]


def absolute(path: str | Path) -> Path:
    """Makes a path absolute and removes "..", but keeps symbolic links as the user wrote them."""
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
    """Lists pictures by suffix, whatever its case; hidden files are left out."""
    found = folder.rglob("*") if recursive else folder.glob("*")
    return sorted(
        path
        for path in found
        if path.suffix.lower() in FRAME_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def find_frame(name: str, folders: Iterable[Path]) -> Path:
    """Finds the frame that an annotation names.

    Tries each folder in turn: the name as given (with either slash), with its suffix in another case, and its
    last part alone.

    Returns:
        The path found, or where it should have been: below the first folder.
    """
    folders = list(folders)
    name = name.replace("\\", "/")
    for folder in folders:
        for candidate in (folder / name, folder / Path(name).name):
            if candidate.is_file():
                return absolute(candidate)
            for suffix in (candidate.suffix.lower(), candidate.suffix.upper()):
                if (other := candidate.with_suffix(suffix)).is_file():
                    return absolute(other)
    return absolute(folders[0] / name)


def frame_sizes(paths: Iterable[Path], on_bad_frame: OnBadFrame, report: ReadReport) -> dict[Path, tuple[int, int]]:
    """Reads (width, height) of each frame that exists."""
    sizes = {}
    for path in paths:
        if not path.is_file():
            report.skip("frame file is missing", str(path))
            continue
        try:
            sizes[path] = frame_size(path)
        except FrameError as error:
            if on_bad_frame == "stop":
                raise
            report.skip("frame cannot be read", str(error))
    return sizes
