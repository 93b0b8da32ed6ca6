"""The crop cache: the same pixels as the frames, built once, never half."""

import errno
import json
import multiprocessing
import os
import pickle
import time
from collections.abc import Callable
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from dml_lightning.data import cache, stores
from dml_lightning.data.cache import (
    CachedCrops,
    build_cache,
    cache_key,
    frames_stamp,
    is_whole,
    open_crops,
)
from dml_lightning.data.cache_folders import cache_bytes
from dml_lightning.data.crops import CropOptions
from dml_lightning.data.frames import FrameError, read_frame
from dml_lightning.data.stores import UncachedCrops
from tests.data.making import counts_table, write_counts

OPTIONS = CropOptions(crop_size=16)
FORK = multiprocessing.get_context("fork")


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    return counts_table(tmp_path)


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A file with one line for each time that a cache is built, in any process."""
    log = tmp_path / "builds.txt"
    log.touch()
    original = cache._build

    def counted(*arguments: Any) -> None:
        with log.open("a") as file:
            file.write("built\n")
        original(*arguments)

    monkeypatch.setattr(cache, "_build", counted)
    return log


def count(builds: Path) -> int:
    return len(builds.read_text().splitlines())


def test_cached_crops_are_those_of_the_frames(table: pd.DataFrame, tmp_path: Path) -> None:
    cached = open_crops(table, OPTIONS, tmp_path / "cache")
    uncached = open_crops(table, OPTIONS, None)
    assert isinstance(cached, CachedCrops)
    assert isinstance(uncached, UncachedCrops)
    np.testing.assert_array_equal(cached.patches(np.arange(20)), uncached.patches(np.arange(20)))
    np.testing.assert_array_equal(cached.statistics, uncached.statistics)
    assert cached.units == ["counts"]
    assert cached.bad_frames == {}
    mixed = np.array([7, 7, 0, 19, 3])
    np.testing.assert_array_equal(cached.patches(mixed), uncached.patches(mixed))
    assert cached.patches(mixed).flags.writeable  # a copy: nobody can write into the file


def test_the_cache_is_built_once(
    table: pd.DataFrame, tmp_path: Path, builds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = build_cache(table, OPTIONS, tmp_path / "deep" / "cache")
    monkeypatch.setattr(stores, "read_frame", None)  # opening a frame would fail now
    assert build_cache(table, OPTIONS, tmp_path / "deep" / "cache", thorough=True) == folder
    assert count(builds) == 1
    names = sorted(path.name for path in folder.parent.iterdir())
    assert names == [folder.name, f"{folder.name}.lock"]
    assert cache_bytes(folder) > len(table) * OPTIONS.stored_size**2 * 4


@pytest.mark.parametrize(
    "change", [{"crop_size": 18}, {"context": 0.6}, {"min_side": 17.0}, {"normalisation": "frame"}]
)
def test_every_option_enters_the_key(table: pd.DataFrame, change: dict[str, Any]) -> None:
    assert cache_key(table, OPTIONS) != cache_key(table, CropOptions(**{"crop_size": 16, **change}))


def test_crops_in_metres_depend_on_the_distance_of_each_frame(table: pd.DataFrame) -> None:
    options = CropOptions(crop_size=16, crop_metres=2.0)
    near, far = (table.assign(gsd=distance) for distance in (0.05, 0.1))
    assert len({cache_key(near, OPTIONS), cache_key(near, options), cache_key(far, options)}) == 3
    assert cache_key(near, OPTIONS) == cache_key(far, OPTIONS)


def test_the_key_is_the_same_however_many_rows_are_hashed_at_once(
    table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = cache_key(table, OPTIONS)
    monkeypatch.setattr(cache, "DIGEST_ROWS", 7)
    assert cache_key(table, OPTIONS) == key


def test_every_box_enters_the_key_and_labels_do_not(table: pd.DataFrame) -> None:
    key = cache_key(table, OPTIONS)
    for column in ("x", "y", "width", "height"):
        moved = table.copy()
        moved[column] += 0.25 * (moved.index == 13)
        assert cache_key(moved, OPTIONS) != key
    moved = table.copy()
    moved.loc[0, "frame"] += "x"
    assert cache_key(moved, OPTIONS) != key
    assert cache_key(table.assign(label="teal"), OPTIONS) == key
    assert cache_key(table.iloc[::-1].reset_index(drop=True), OPTIONS) != key


def test_a_changed_frame_makes_the_cache_stale(table: pd.DataFrame, tmp_path: Path, builds: Path) -> None:
    old = open_crops(table, OPTIONS, tmp_path / "cache")
    rows = np.flatnonzero(table["frame"] == table["frame"][0])
    before = old.patches(rows)
    write_counts(Path(table["frame"][0]), seed=99)
    new = open_crops(table, OPTIONS, tmp_path / "cache")
    assert count(builds) == 2
    assert not np.array_equal(new.patches(rows), before)
    np.testing.assert_array_equal(old.patches(rows), before)  # who reads the old one is not disturbed
    others = np.setdiff1d(np.arange(len(table)), rows)
    np.testing.assert_array_equal(new.patches(others), old.patches(others))


def test_the_stamp_sees_size_time_and_absence(tmp_path: Path) -> None:
    path = tmp_path / "frame"
    stamps = {frames_stamp([str(path)])}
    path.write_bytes(b"12")
    os.utime(path, ns=(1, 1))
    stamps.add(frames_stamp([str(path)]))
    os.utime(path, ns=(1, 2))
    stamps.add(frames_stamp([str(path)]))
    path.write_bytes(b"123")
    os.utime(path, ns=(1, 2))
    stamps.add(frames_stamp([str(path)]))
    assert len(stamps) == 4


@pytest.mark.parametrize("place", [3, 25_000, 49_999], ids=["first", "middle", "last"])
def test_the_stamp_sees_pixels_that_changed_under_the_same_size_and_time(tmp_path: Path, place: int) -> None:
    path, content = tmp_path / "frame", bytearray(50_000)
    path.write_bytes(content)
    os.utime(path, ns=(1, 1))
    before = frames_stamp([str(path)])
    content[place] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(1, 1))
    assert frames_stamp([str(path)]) != before


@pytest.mark.parametrize("suffix", [".msk", ".aux.xml"])
def test_the_stamp_sees_what_lies_beside_a_frame(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "frame.tif"
    path.write_bytes(b"12")
    before = frames_stamp([str(path)])
    (tmp_path / f"frame.tif{suffix}").write_text("mask")
    assert frames_stamp([str(path)]) != before


def test_the_stamp_does_not_wait_for_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "frame")
    assert frames_stamp([str(tmp_path / "frame")]) == frames_stamp([str(tmp_path / "absent")])


def test_the_umask_holds_for_the_cache(table: pd.DataFrame, tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        folder = build_cache(table, OPTIONS, tmp_path / "cache")
    finally:
        os.umask(old)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "pixels.npy").stat().st_mode & 0o777 == 0o600


def test_a_full_disk_is_one_sentence_and_leaves_nothing(
    table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache, "_write_pixels", full)
    with pytest.raises(ValueError, match=r"cache: the crop cache cannot be written \(No space left on device\); make"):
        build_cache(table, OPTIONS, tmp_path / "cache")
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]
    monkeypatch.undo()
    assert build_cache(table, OPTIONS, tmp_path / "cache").is_dir()


def truncate(folder: Path) -> None:
    os.truncate(folder / "pixels.npy", 1000)


def lose_statistics(folder: Path) -> None:
    (folder / "statistics.npy").unlink()


def spoil_meta(folder: Path) -> None:
    (folder / "meta.json").write_text('{"stamp": ')


def empty_meta(folder: Path) -> None:
    (folder / "meta.json").write_text("[]")


@pytest.mark.parametrize("damage", [truncate, lose_statistics, spoil_meta, empty_meta])
def test_a_damaged_cache_is_built_again(
    table: pd.DataFrame, tmp_path: Path, builds: Path, damage: Callable[[Path], None]
) -> None:
    crops = open_crops(table, OPTIONS, tmp_path / "cache")
    expected = crops.patches(np.arange(20))
    damage(crops.folder)
    again = open_crops(table, OPTIONS, tmp_path / "cache")
    assert count(builds) == 2
    np.testing.assert_array_equal(again.patches(np.arange(20)), expected)


def test_a_flipped_byte_is_found_by_the_thorough_check(table: pd.DataFrame, tmp_path: Path, builds: Path) -> None:
    folder = build_cache(table, OPTIONS, tmp_path / "cache")
    with (folder / "pixels.npy").open("r+b") as file:
        file.seek(5000)
        byte = file.read(1)
        file.seek(5000)
        file.write(bytes([byte[0] ^ 1]))
    stamp = json.loads((folder / "meta.json").read_text())["stamp"]
    assert is_whole(folder, stamp)
    assert not is_whole(folder, stamp, thorough=True)
    build_cache(table, OPTIONS, tmp_path / "cache", thorough=True)
    assert count(builds) == 2
    assert is_whole(folder, stamp, thorough=True)


def _open_in_child(table: pd.DataFrame, folder: Path, results: "Queue[float]") -> None:
    torch.set_num_threads(1)  # children of a parent that used OpenMP would hang
    results.put(open_crops(table, OPTIONS, folder).patches(np.arange(20)).sum())


def test_many_processes_build_one_cache(
    table: pd.DataFrame, tmp_path: Path, builds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = stores.cut_frame

    def slowed(*arguments: Any) -> Any:
        time.sleep(0.02)  # so that the others come while it is being built
        return slow(*arguments)

    monkeypatch.setattr(stores, "cut_frame", slowed)
    results = FORK.Queue()
    children = [FORK.Process(target=_open_in_child, args=(table, tmp_path / "cache", results)) for _ in range(4)]
    for child in children:
        child.start()
    sums = {results.get(timeout=60) for _ in children}
    for child in children:
        child.join()
    assert sums == {open_crops(table, OPTIONS, None).patches(np.arange(20)).sum()}
    assert count(builds) == 1


def _die_while_building(table: pd.DataFrame, folder: Path) -> None:
    torch.set_num_threads(1)
    done = []
    original = stores.cut_frame

    def dying(*arguments: Any) -> Any:
        if len(done) == 2:
            os._exit(9)
        done.append(1)
        return original(*arguments)

    stores.cut_frame = dying  # type: ignore[assignment]
    open_crops(table, OPTIONS, folder)


def test_a_killed_builder_leaves_nothing_in_the_way(table: pd.DataFrame, tmp_path: Path) -> None:
    child = FORK.Process(target=_die_while_building, args=(table, tmp_path / "cache"))
    child.start()
    child.join()
    assert child.exitcode == 9
    assert any(".tmp" in path.name for path in (tmp_path / "cache").iterdir())
    crops = open_crops(table, OPTIONS, tmp_path / "cache")
    assert not any(".tmp" in path.name for path in (tmp_path / "cache").iterdir())
    assert np.isfinite(crops.statistics).all()


def test_a_bad_frame_stops_before_training(table: pd.DataFrame, tmp_path: Path) -> None:
    bad = Path(table["frame"][0])
    os.truncate(bad, 200)
    with pytest.raises(FrameError, match=str(bad)):
        open_crops(table, OPTIONS, tmp_path / "cache")
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


def test_a_bad_frame_can_be_skipped(table: pd.DataFrame, tmp_path: Path) -> None:
    bad = table["frame"][0]
    Path(bad).unlink()
    crops = open_crops(table, OPTIONS, tmp_path / "cache", "skip")
    lost = (table["frame"] == bad).to_numpy()
    np.testing.assert_array_equal(np.isnan(crops.statistics), np.stack([lost, lost], axis=1))
    assert list(crops.bad_frames) == [bad]
    assert bad in crops.bad_frames[bad]


def test_what_was_skipped_stops_a_stricter_run_and_heals(table: pd.DataFrame, tmp_path: Path, builds: Path) -> None:
    bad = Path(table["frame"][0])
    good = bad.read_bytes()
    bad.write_bytes(b"")
    with pytest.raises(FrameError) as direct:
        read_frame(bad)
    open_crops(table, OPTIONS, tmp_path / "cache", "skip")
    with pytest.raises(FrameError) as stored:
        open_crops(table, OPTIONS, tmp_path / "cache", "stop")
    assert str(stored.value) == str(direct.value)
    assert count(builds) == 1
    bad.write_bytes(good)
    assert open_crops(table, OPTIONS, tmp_path / "cache", "stop").bad_frames == {}
    assert count(builds) == 2


def test_an_unusable_folder_is_named(table: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"file/cache: the folder of the crop cache cannot be written \(Not a dir"):
        open_crops(table, OPTIONS, tmp_path / "file" / "cache")


def test_a_worker_receives_the_address_not_the_pixels(table: pd.DataFrame, tmp_path: Path) -> None:
    crops = open_crops(table, OPTIONS, tmp_path / "cache")
    message = pickle.dumps(crops)
    assert len(message) < 500
    np.testing.assert_array_equal(pickle.loads(message).patches(np.arange(20)), crops.patches(np.arange(20)))
