"""Files that are whole or absent, locks, and JSON."""

import errno
import math
import multiprocessing as mp
import os
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

from dml_lightning import files


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    files.write_text(path, "old")
    with pytest.raises(ValueError, match="pickle"):
        files.write_npz(path, one=np.array([object()]))
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "old"


def test_an_interrupted_write_leaves_nothing_behind(tmp_path: Path) -> None:
    def write_half() -> None:
        with files.replacing(tmp_path / "new" / "file") as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert not list((tmp_path / "new").iterdir())


def test_arrays_come_back(tmp_path: Path) -> None:
    arrays = {"one": np.arange(3), "names": np.array(["a", "b"])}
    files.write_npz(tmp_path / "deep" / "file.npz", **arrays)
    with np.load(tmp_path / "deep" / "file.npz", allow_pickle=False) as found:
        assert {name: found[name].tolist() for name in found.files} == {"one": [0, 1, 2], "names": ["a", "b"]}


def test_json_holds_null_for_what_json_lacks(tmp_path: Path) -> None:
    content = {"a": math.nan, "b": [math.inf, 1.5], "c": {"d": -math.inf}}
    files.write_json(tmp_path / "file.json", content)
    assert files.read_json(tmp_path / "file.json") == {"a": None, "b": [None, 1.5], "c": {"d": None}}
    assert "NaN" not in (tmp_path / "file.json").read_text()


def test_json_that_is_absent_is_empty_and_damaged_json_is_named(tmp_path: Path) -> None:
    assert files.read_json(tmp_path / "file.json") == {}
    for damaged in ('{"a": ', "[1, 2]", "[" * 100_000, ""):
        (tmp_path / "file.json").write_text(damaged)
        with pytest.raises(ValueError, match=r"file\.json is damaged"):
            files.read_json(tmp_path / "file.json")


def hold(folder: Path, connection: Connection) -> None:
    with files.locked(folder):
        connection.send("held")
        connection.recv()


def test_a_lock_names_its_holder_and_ends_with_it(tmp_path: Path) -> None:
    context, folder = mp.get_context("fork"), tmp_path / "comparison"
    here, there = context.Pipe()
    process = context.Process(target=hold, args=(folder, there))
    process.start()
    assert here.recv() == "held"
    with pytest.raises(ValueError, match=f"comparison is being written by process {process.pid} on "):
        files.locked(folder).__enter__()
    process.kill()
    process.join()
    with files.locked(folder):
        assert f"process {os.getpid()} on " in (folder / ".lock").read_text()


def test_a_file_system_without_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.lockf", refuse)
    with pytest.warns(UserWarning, match=r"has no file locks \(No locks available\)"), files.locked(tmp_path):
        pass


def test_a_folder_takes_its_place_when_it_is_complete_or_not_at_all(tmp_path: Path) -> None:
    def write(fail: bool) -> None:
        with files.replacing_folder(tmp_path / "deep" / "folder") as folder:
            (folder / "file").write_text("whole")
            if fail:
                raise ValueError("in the midst")

    with pytest.raises(ValueError, match="in the midst"):
        write(fail=True)
    assert not list((tmp_path / "deep").iterdir())
    write(fail=False)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["folder"]
    assert (tmp_path / "deep" / "folder" / "file").read_text() == "whole"
    with pytest.raises(OSError, match="not empty"):
        write(fail=False)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["folder"]
