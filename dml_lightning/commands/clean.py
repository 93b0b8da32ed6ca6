"""`dml clean`: shows, and removes if told to, crop caches and unfinished runs that have lain unused."""

import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dml_lightning.compare import declaration
from dml_lightning.data.cache_folders import CACHES, cache_bytes, last_use, remove_cache
from dml_lightning.files import locked
from dml_lightning.runs.folder import read_run
from dml_lightning.runs.recipes import recipe_file

DAY = 24 * 3600  # s


@dataclass(frozen=True)
class Unused:
    """A folder that nothing needs.

    Attributes:
        folder: The folder.
        what: What it is, for people.
        used: When it was used last, s since 1970.
        size: Bytes on disk.
    """

    folder: Path
    what: str
    used: float
    size: int


def clean(runs_root: str = "runs", cache_dir: str = "cache", days: float = 14, yes: bool = False) -> list[Path]:
    """Lists crop caches and unfinished runs that nothing has used for some days, and removes them after a question.

    A cache can always be cut again from its frames. A run is listed only if neither its fit nor its test has finished,
    no process is writing it, and it belongs to no comparison: what a declared.json speaks of stays, failed runs too.
    Finished runs are never listed.

    Args:
        runs_root: Folder of all runs.
        cache_dir: Folder of all crop caches.
        days: Number of days without use.
        yes: Whether to remove without asking. Without a terminal to ask at, nothing else is removed.

    Returns:
        The folders that were removed.

    Raises:
        ValueError: If the number of days is negative.
    """
    if not days >= 0:
        raise ValueError(f"--days {days} must be 0 or more.")
    before = time.time() - days * DAY
    unused = [each for each in (*_caches(Path(cache_dir)), *_runs(Path(runs_root))) if each.used <= before]
    if not unused:
        print(f"Nothing in {cache_dir} or {runs_root} has lain unused for {days:g} days.")
        return []
    for each in unused:
        date = time.strftime("%Y-%m-%d", time.localtime(each.used))
        print(f"{each.size / 1e6:10.1f} MB  {date}  {each.what}  {each.folder}")
    print(f"{sum(each.size for each in unused) / 1e6:10.1f} MB in {len(unused)} folders.")
    if not (yes or _agreed()):
        print("Nothing was removed; dml clean --yes removes these folders.")
        return []
    return [each.folder for each in unused if _removed(each)]


def _agreed() -> bool:
    return sys.stdin.isatty() and input("Remove them? [y/N] ").strip().lower() in ("y", "yes")


def _caches(cache_dir: Path) -> Iterator[Unused]:
    for folder in sorted(cache_dir.glob("crops-*")):
        if CACHES.fullmatch(folder.name) and folder.is_dir() and not folder.is_symlink():
            yield Unused(folder, "cache of crops", last_use(folder), cache_bytes(folder))


def _runs(root: Path) -> Iterator[Unused]:
    """Unfinished runs outside of comparisons that no process is writing."""
    for path in sorted(root.rglob("run.json")):
        run = path.parent
        statuses = {stage.get("status") for stage in read_run(run)["stages"].values()}
        declared = any((folder / declaration.NAME).is_file() for folder in run.parents)
        if "finished" in statuses or declared or run.is_symlink() or recipe_file(run) is None or not _is_free(run):
            continue
        files = [each for each in run.rglob("*") if each.is_file() and each.name != ".lock"]
        used = max(each.stat().st_mtime for each in files)
        yield Unused(run, "unfinished run", used, sum(each.stat().st_size for each in files))


def _is_free(run: Path) -> bool:
    try:
        with locked(run):
            return True
    except ValueError:
        return False


def _removed(unused: Unused) -> bool:
    """Removes a folder, unless a process has begun to use it meanwhile."""
    if CACHES.fullmatch(unused.folder.name):
        return remove_cache(unused.folder, unused.used)
    try:
        with locked(unused.folder):
            shutil.rmtree(unused.folder)
    except ValueError as error:
        print(error)
        return False
    return True
