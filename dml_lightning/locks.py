"""Locks of open files that the system frees when their process ends, however it ends: by fcntl, on Windows by msvcrt.

The library filelock would keep a lock for as long as any forked worker lives, and where the system has no locks leave
a file behind that a kill makes permanent: a run could then not go on.
"""

import os
import time
from typing import Any

fcntl: Any
msvcrt: Any
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt

FOLDERS = fcntl is not None  # whether a folder can be opened, to hold it and to bring its entries to the disk
BEHIND = 1 << 30  # place of the byte that is locked on Windows: behind the content, which others cannot read else
POLL = 0.1  # s between two attempts on Windows


def lock_for_process(number: int) -> None:
    """Locks an open file for this process alone: forked workers do not hold it, and other hosts see it.

    Args:
        number: Descriptor of the file.

    Raises:
        BlockingIOError: If another process holds it; or PermissionError.
        OSError: If the file system has no locks.
    """
    if fcntl is None:
        _lock_byte(number)
    else:
        fcntl.lockf(number, fcntl.LOCK_EX | fcntl.LOCK_NB)


def lock(number: int, *, wait: bool = False) -> None:
    """Locks an open file or folder until it is closed here and in the processes that have inherited it.

    Args:
        number: Descriptor of the file.
        wait: Whether to wait for another process that holds it, instead of raising.

    Raises:
        OSError: If another process holds it, or the file system has no locks.
    """
    if fcntl is not None:
        fcntl.flock(number, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        return None
    while True:
        try:
            return _lock_byte(number)
        except PermissionError:
            if not wait:
                raise
            time.sleep(POLL)


def share(number: int) -> None:
    """Locks an open folder together with others that share it; waits for a process that holds it alone."""
    fcntl.flock(number, fcntl.LOCK_SH)


def _lock_byte(number: int) -> None:
    place = os.lseek(number, 0, os.SEEK_CUR)
    os.lseek(number, BEHIND, os.SEEK_SET)
    try:
        msvcrt.locking(number, msvcrt.LK_NBLCK, 1)
    finally:
        os.lseek(number, place, os.SEEK_SET)
