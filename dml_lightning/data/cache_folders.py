"""Folders of crop caches, beside their locks: last use, size and removal, without reading what they hold."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dml_lightning import locks

CACHES = re.compile(r"crops-[0-9a-f]{16}(\.tmp[0-9a-f]{8})?")  # names of caches, and of what a killed process left


def last_use(folder: Path) -> float:
    """When a cache was opened last, or written, in s since 1970."""
    lock = lock_of(folder)
    return max(each.stat().st_mtime for each in (folder, lock) if each.exists())


def remove_cache(folder: Path, used: float) -> bool:
    """Removes a cache that has not been used since, and says whether it did; a process that has it open keeps it.

    Args:
        folder: Folder of the cache, or what a killed process has left of one.
        used: Its `last_use`.
    """
    with in_turn(lock_of(folder)):
        if last_use(folder) > used:
            return False
        shutil.rmtree(folder)
    return True


def lock_of(folder: Path) -> Path:
    """Path of the lock of a cache."""
    return folder.with_suffix(".lock")


def cache_bytes(folder: Path) -> int:
    """Size of a cache on disk in bytes."""
    return sum(file.stat().st_size for file in folder.iterdir())


@contextmanager
def in_turn(path: Path) -> Iterator[None]:
    """Holds a lock, and waits until it is free.

    Raises:
        ValueError: The folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except OSError as error:
        raise ValueError(
            f"{path.parent}: the folder of the crop cache cannot be written ({error.strerror}); choose another"
            " cache_dir, or null to cut crops from the frames each time."
        ) from error
    with file:
        # released when the file is closed, also by the death of the process
        locks.lock(file.fileno(), wait=True)
        yield
