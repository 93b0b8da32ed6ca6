"""The folders of crop caches: when they were used last, and how one goes."""

import os
from pathlib import Path

import pandas as pd
import pytest

from dml_lightning.data.cache import build_cache
from dml_lightning.data.cache_folders import CACHES, cache_bytes, last_use, remove_cache
from dml_lightning.data.crops import CropOptions
from tests.data.making import counts_table

OPTIONS = CropOptions(crop_size=16)


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    return counts_table(tmp_path)


@pytest.fixture
def folder(table: pd.DataFrame, tmp_path: Path) -> Path:
    """A cache that was used last at 1000 s."""
    folder = build_cache(table, OPTIONS, tmp_path / "cache")
    for path in (folder, folder.with_suffix(".lock")):
        os.utime(path, (1000, 1000))
    return folder


def test_a_cache_that_was_used_meanwhile_stays(folder: Path, table: pd.DataFrame) -> None:
    assert last_use(folder) == 1000
    assert build_cache(table, OPTIONS, folder.parent) == folder
    assert last_use(folder) > 1000
    assert not remove_cache(folder, 1000)
    assert cache_bytes(folder) == sum(len(path.read_bytes()) for path in folder.iterdir()) > 0


def test_a_cache_that_was_not_used_since_goes(folder: Path) -> None:
    assert remove_cache(folder, 1000)
    assert not folder.exists()


def test_names_are_those_of_caches_and_of_what_a_kill_left(folder: Path) -> None:
    assert CACHES.fullmatch(folder.name)
    assert CACHES.fullmatch("crops-0123456789abcdef.tmp01234567")
    assert not CACHES.fullmatch("crops-of-mine")
