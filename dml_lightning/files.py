"""Files that are written whole or not at all, where they may lie, locks that end with their process, and JSON."""

import glob
import json
import os
import shutil
import socket
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from dml_lightning import locks
from dml_lightning.errors import chain

RUN_MARKS = ("run.json", "recipe.fit.yaml", "recipe.test.yaml", "declared.json")  # in the folder of a run or comparison
# What later commands read there, by its place below that folder; reports and predictions may lie beside.
OWN_FILES = (
    *("run.json", "recipe.*.yaml", "facts.json", "declared.json", "search.json", ".lock"),
    *("checkpoints", "digests", "gallery", "metrics", "csv", "embeddings", "figures", "wandb", "logs"),
)


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold `.lock` in a run's or a comparison's folder: the system frees it when this process ends, however it ends.

    A record lock belongs to one process, so forked workers do not hold it, and on network file systems it holds
    across hosts. A file system without locks gives a warning, and nothing is held.

    Raises:
        ValueError: If another process holds the lock.
    """
    run.mkdir(parents=True, exist_ok=True)
    with (run / ".lock").open("a+b") as file:
        try:
            locks.lock_for_process(file.fileno())
        except (BlockingIOError, PermissionError):
            raise ValueError(_occupied(run)) from None
        except OSError as error:
            warnings.warn(
                f"{run} has no file locks ({error.strerror}): see to it that one process writes there.", stacklevel=2
            )
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
        file.flush()
        yield


def _occupied(run: Path) -> str:
    return f"{run} is being written by {(run / '.lock').read_text() or 'another process'}."


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Yield a file to write that takes `path`'s place once it is complete and on the disk, and never before.

    Errors of the system name `path`, if they name no other file.

    Raises:
        ValueError: If there is something other than a file, which would be lost.
    """
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is a folder, a pipe or a device; name a file to write.")
    temporary = _temporary(path)
    with _naming(path, temporary):
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        try:
            with temporary.open("wb") as file:
                _hold(file.fileno())
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        with _opened(path.parent) as folder:
            if folder is not None:
                os.fsync(folder)  # the new name too


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder to fill that takes the place of `folder`, absent or empty, once it is complete, not before.

    Errors of the system name `folder`, if they name no other file.
    """
    temporary = _temporary(folder)
    with _naming(folder, temporary):
        folder.parent.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        temporary.mkdir()
        try:
            with _opened(temporary) as held:
                if held is not None:
                    _hold(held)
                yield temporary
                temporary.replace(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _opened(folder: Path) -> Iterator[int | None]:
    """Descriptor of a folder; None where the system opens none."""
    number = os.open(folder, os.O_RDONLY) if locks.FOLDERS else None
    try:
        yield number
    finally:
        if number is not None:
            os.close(number)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def _hold(number: int) -> None:
    """Mark what a process is writing; the mark ends with the process, however it ends."""
    with suppress(OSError):  # a file system without locks: nothing is swept there
        locks.lock(number)


def _sweep(path: Path) -> None:
    """Remove what killed processes left of `path`: temporary files and folders of its name that nobody holds."""
    for stale in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with suppress(OSError):
            number = os.open(stale, os.O_RDONLY)
            try:
                locks.lock(number)
                shutil.rmtree(stale) if stale.is_dir() else stale.unlink()
            finally:
                os.close(number)


@contextmanager
def sharing(folder: Path) -> Iterator[None]:
    """Hold a folder in which several processes may add files at once; with no other there, temporary files go first."""
    with _opened(folder) as number:
        if number is not None:
            with suppress(OSError):
                locks.lock(number)
                for stale in folder.glob(".*.tmp"):
                    stale.unlink()
            with suppress(OSError):
                locks.share(number)
        with _naming(folder, folder):
            yield


@contextmanager
def _naming(path: Path, temporary: Path) -> Iterator[None]:
    """Name what the user asked for in errors of the system that name no file, or a temporary one."""
    try:
        yield
    except BaseException as error:
        for each in chain(error):
            if isinstance(each, OSError) and each.errno and each.filename in (None, str(temporary)):
                each.filename = str(path)
        raise


def check_output(option: str, path: Path, inputs: Iterable[str | Path] = ()) -> None:
    """Refuse an output that would replace an input of the command, or a file that a run lives on.

    Args:
        option: Name of the option, for the message.
        path: File or folder to write.
        inputs: Files and folders that the command reads.

    Raises:
        ValueError: If it would; names the option and what would be lost.
    """
    target = Path(os.path.realpath(path))
    for each in inputs:
        if Path(os.path.realpath(each)) == target:
            raise ValueError(f"{option} {path} is what the command reads; name another to write.")
    for run in target.parents:
        if any((run / name).is_file() for name in RUN_MARKS):
            own = target.relative_to(run).parts[0]
            if any(fnmatch(own, pattern) for pattern in OWN_FILES):
                raise ValueError(f"{option} {path} is a file of the run {run} itself; name another to write.")


def check_name(option: str, name: str) -> None:
    """Refuse a name that is no path below the folder that it is looked up in.

    Example:
        >>> check_name("--name", "triplet/first")
        >>> check_name("--name", "../elsewhere")
        Traceback (most recent call last):
        ...
        ValueError: --name '../elsewhere' must name a folder below another: letters, not an absolute path, '.' or '..'.

    Raises:
        ValueError: If it is empty, absolute, or holds `.` or `..` or a character that no file name has.
    """
    parts = name.split("/")
    if not all(part.strip() and part not in (".", "..") and "\0" not in part for part in parts):
        raise ValueError(
            f"{option} {name!r} must name a folder below another: letters, not an absolute path, '.' or '..'."
        )


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with replacing(path) as file:
        file.write(text.encode())


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file, whole or not at all; numbers that JSON lacks (NaN, infinity) become null."""
    cleaned = json.loads(json.dumps(content), parse_constant=lambda _: None)
    write_text(path, json.dumps(cleaned, indent=2) + "\n")


def write_npz(path: Path, **arrays: NDArray[Any]) -> None:
    """Write arrays into a compressed .npz file, whole or not at all."""
    with replacing(path) as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; empty if there is no file.

    Raises:
        ValueError: If the file is damaged.
    """
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}).") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged: it holds no JSON object.")
    return content
