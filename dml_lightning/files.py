"""Files that are written whole or not at all, locks that end with their process, and JSON."""

import fcntl
import json
import os
import shutil
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray


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
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
    """Yield a file to write that takes `path`'s place once it is complete and on the disk, and never before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name too
    finally:
        os.close(folder)


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder to fill that takes the place of `folder`, absent or empty, once it is complete, not before."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    temporary.mkdir()
    try:
        yield temporary
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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
