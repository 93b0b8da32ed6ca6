"""Crops cut once, in frame order, into a memory-mapped file that every later run and every rank reads.

A cache is a folder `crops-<key>`, where the key is a hash of the frames' paths, the boxes and the options. It is built
under a lock in a temporary folder, which is renamed when complete: a reader sees a whole cache or none. It holds the
size, time and a sample of the bytes of every frame, and is built again when a frame has changed or a file of its own is
damaged.
"""

import hashlib
import json
import os
import secrets
import shutil
import zlib
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from dml_lightning.data.cache_folders import in_turn, lock_of
from dml_lightning.data.crops import CropOptions, Patches, Statistics
from dml_lightning.data.frames import FrameError
from dml_lightning.data.ground import ground_distances
from dml_lightning.data.stores import CropStore, Cutter, Rows, UncachedCrops
from dml_lightning.data.table import BOX_COLUMNS, DIGEST_ROWS
from dml_lightning.types import OnBadFrame

FORMAT = 2  # raise it when the meaning of a cached file changes
SAMPLE = 4096  # bytes at the start, in the middle and at the end of a frame that enter its stamp
SIDECARS = (".msk", ".aux.xml")  # what readers look at beside a frame
PIXELS, STATISTICS, META = "pixels.npy", "statistics.npy", "meta.json"


class CachedCrops:
    """An open cache folder.

    Args:
        folder: Folder that `build_cache` has returned.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        meta = json.loads((folder / META).read_text())
        self.bad_frames: dict[str, str] = meta["bad_frames"]
        self.units: list[str] = meta["units"]
        self.statistics: Statistics = np.load(folder / STATISTICS)
        self.pixels: Patches = np.load(folder / PIXELS, mmap_mode="r").view(np.ndarray)

    def patches(self, rows: Rows) -> Patches:
        """Returns the raw patches (B, P, P), copied out of the file."""
        return self.pixels[rows]

    def __reduce__(self) -> tuple[type["CachedCrops"], tuple[Path]]:
        # a worker maps the file again instead of receiving a copy of it
        return CachedCrops, (self.folder,)


def cache_key(table: pd.DataFrame, options: CropOptions) -> str:
    """Hash of everything that determines the cached pixels of a crop table, except the content of the frames."""
    cutting = asdict(options)
    del cutting["side_inputs"]  # which change no pixel
    if options.crop_metres is None:
        del cutting["crop_metres"]  # older caches know nothing of it
    digest = hashlib.sha256(json.dumps([FORMAT, cutting], sort_keys=True).encode())
    if options.crop_metres is not None:
        digest.update(ground_distances(table).tobytes())
    digest.update(np.ascontiguousarray(table[BOX_COLUMNS].to_numpy(np.float64)).tobytes())
    for start in range(0, len(table), DIGEST_ROWS):
        digest.update(("\n" * (start > 0) + "\n".join(table["frame"].iloc[start : start + DIGEST_ROWS])).encode())
    return digest.hexdigest()[:16]


def frames_stamp(paths: Iterable[str]) -> str:
    """Hash of sizes, modification times and samples of the bytes of frames and of the files that go with them.

    It changes when a frame is changed, removed or added, in most cases even if its size and time were kept.
    """
    digest = hashlib.sha256()
    for path in paths:
        digest.update(_stamp(Path(path)) or b"missing\n")
        for suffix in SIDECARS:
            digest.update(_stamp(Path(path + suffix)))
    return digest.hexdigest()


def _stamp(path: Path) -> bytes:
    """Size, time and sample of one file; nothing where there is none, or it is no regular file."""
    try:
        stat = path.stat()
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            places = (0, max(0, stat.st_size // 2 - SAMPLE // 2), max(0, stat.st_size - SAMPLE))
            checksum = zlib.crc32(b"".join(_read_at(file, place) for place in places))
    except OSError:
        return b""
    return f"{stat.st_size} {stat.st_mtime_ns} {checksum}\n".encode()


def _read_at(file: BinaryIO, place: int) -> bytes:
    file.seek(place)
    return file.read(SAMPLE)


def open_crops(
    table: pd.DataFrame, options: CropOptions, cache_dir: str | Path | None, on_bad_frame: OnBadFrame = "stop"
) -> CropStore:
    """Opens the crops of a table, cutting them first where no whole and current cache exists.

    Safe to call from many processes at once: one builds, the others wait for it.

    Args:
        table: Crop table.
        options: Options of the crops.
        cache_dir: Folder of all caches, created when missing; None opens the frame for every crop.
        on_bad_frame: Whether the first frame that cannot be used raises ("stop"), or the crops of such frames are left
            out, with NaN statistics ("skip").

    Raises:
        FrameError: A frame cannot be used and on_bad_frame is "stop".
        ValueError: The folder cannot be written.
    """
    if cache_dir is None:
        return UncachedCrops(table, options, on_bad_frame)
    crops = CachedCrops(build_cache(table, options, Path(cache_dir), on_bad_frame))
    if crops.bad_frames and on_bad_frame == "stop":
        raise _stored_error(*next(iter(crops.bad_frames.items())))
    return crops


def build_cache(
    table: pd.DataFrame,
    options: CropOptions,
    cache_dir: Path,
    on_bad_frame: OnBadFrame = "stop",
    *,
    thorough: bool = False,
) -> Path:
    """Returns the folder of a whole and current cache, built if need be.

    Args:
        table: Crop table.
        options: Options of the crops.
        cache_dir: Folder of all caches.
        on_bad_frame: Whether a frame that cannot be used raises ("stop") or is left out ("skip").
        thorough: Whether the checksums of the cached files are compared, too (about 1 s per GB).

    Raises:
        FrameError: A frame cannot be used and on_bad_frame is "stop".
        ValueError: The folder cannot be written.
    """
    folder = cache_dir / f"crops-{cache_key(table, options)}"
    cutter = Cutter(table, options)
    stamp = frames_stamp(path for path, _ in cutter.frames)
    with in_turn(lock_of(folder)):
        if not is_whole(folder, stamp, thorough=thorough):
            _build(cutter, stamp, folder, on_bad_frame)
        os.utime(lock_of(folder))  # when it was used last
    return folder


def is_whole(folder: Path, stamp: str, *, thorough: bool = False) -> bool:
    """Whether a cache is complete, undamaged (`thorough`: by checksum) and made from the frames as they are now."""
    try:
        meta = json.loads((folder / META).read_text())
        return bool(meta["stamp"] == stamp) and all(
            (folder / name).stat().st_size == size and (not thorough or _checksum(folder / name) == checksum)
            for name, size, checksum in meta["files"]
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _build(cutter: Cutter, stamp: str, folder: Path, on_bad_frame: OnBadFrame) -> None:
    # what a killed process has left: we hold the lock, so nobody is writing it
    for leftover in folder.parent.glob(f"{folder.name}.tmp*"):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary = folder.with_name(f"{folder.name}.tmp{secrets.token_hex(4)}")
    try:
        temporary.mkdir()  # with the permissions that the umask leaves, as mkdtemp would not
        _write_pixels(cutter, temporary / PIXELS, on_bad_frame)
        np.save(temporary / STATISTICS, cutter.statistics)
        _write_meta(cutter, stamp, temporary)
        # a stale or damaged one; whoever has it open keeps the old file until closing it
        shutil.rmtree(folder, ignore_errors=True)
        temporary.replace(folder)
    except OSError as error:
        raise ValueError(
            f"{folder.parent}: the crop cache cannot be written ({error.strerror}); make room there or choose another"
            " cache_dir, and the same command goes on."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_pixels(cutter: Cutter, path: Path, on_bad_frame: OnBadFrame) -> None:
    # written with seek and write: pages written through a memory map count as memory of this process
    side = cutter.options.stored_size
    header: dict[str, Any] = {"descr": "<f4", "fortran_order": False, "shape": (len(cutter.statistics), side, side)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        begin, step = file.tell(), side * side * 4
        file.truncate(begin + step * len(cutter.statistics))
        for rows, patches in cutter.cut_all(on_bad_frame):
            for row, patch in zip(rows, patches, strict=True):
                file.seek(begin + step * int(row))
                file.write(patch.astype("<f4").tobytes())


def _write_meta(cutter: Cutter, stamp: str, folder: Path) -> None:
    files = [(n, (folder / n).stat().st_size, _checksum(folder / n)) for n in (PIXELS, STATISTICS)]
    meta = {"stamp": stamp, "units": cutter.units, "bad_frames": cutter.bad_frames, "files": files}
    (folder / META).write_text(json.dumps(meta, indent=1))


def _checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            checksum = zlib.crc32(block, checksum)
    return checksum


def _stored_error(path: str, sentence: str) -> FrameError:
    error = FrameError(path, sentence)
    error.args = (sentence,)
    return error
