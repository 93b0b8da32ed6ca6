"""Locks, here also as on Windows, whose module is made up of what Linux has."""

import ast
import errno
import fcntl
import importlib
import multiprocessing as mp
import os
import sys
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from dml_lightning import files, locks
from tests import ROOT


def locking(number: int, mode: int, length: int) -> None:
    """As `msvcrt.locking`: bytes from the place in the file on, and an error of permissions if they are locked."""
    assert mode == 2
    try:
        fcntl.lockf(number, fcntl.LOCK_EX | fcntl.LOCK_NB, length, os.lseek(number, 0, os.SEEK_CUR), os.SEEK_SET)
    except BlockingIOError:
        raise PermissionError(errno.EACCES, "Permission denied") from None


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "fcntl", None)
        patch.setitem(sys.modules, "msvcrt", SimpleNamespace(LK_NBLCK=2, locking=locking))
        importlib.reload(locks)
    yield locks
    importlib.reload(locks)


def hold(folder: Path, connection: Connection) -> None:
    with files.locked(folder), (folder / "other").open("wb") as file:
        locks.lock(file.fileno())
        connection.send("held")
        connection.recv()


def test_on_windows_a_lock_names_its_holder_and_ends_with_it(windows: ModuleType, tmp_path: Path) -> None:
    context, folder = mp.get_context("fork"), tmp_path / "run"
    here, there = context.Pipe()
    process = context.Process(target=hold, args=(folder, there))
    process.start()
    assert here.recv() == "held"
    with pytest.raises(ValueError, match=f"run is being written by process {process.pid} on "):
        files.locked(folder).__enter__()
    with (folder / "other").open("r+b") as file:
        with pytest.raises(PermissionError):
            windows.lock(file.fileno())
        threading.Timer(0.2, process.kill).start()
        windows.lock(file.fileno(), wait=True)
        assert file.tell() == 0
    process.join()
    assert process.exitcode == -9
    with files.locked(folder):
        assert f"process {os.getpid()} on " in (folder / ".lock").read_text()


def test_on_windows_files_and_folders_appear_whole_although_no_folder_can_be_opened(
    windows: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open

    def refuse(path: Path, *args: int) -> int:
        if Path(path).is_dir():
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *args)

    monkeypatch.setattr(os, "open", refuse)
    files.write_text(tmp_path / "file", "whole")
    with files.replacing_folder(tmp_path / "folder") as folder, files.sharing(tmp_path):
        (folder / "inside").touch()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder", "inside"]


def test_no_other_module_imports_what_windows_lacks() -> None:
    lacking = {"fcntl", "grp", "pty", "pwd", "resource", "termios"}
    found = {
        (path.name, name)
        for path in (ROOT / "dml_lightning").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in {getattr(node, "module", None), *(each.name for each in node.names)} & lacking
    }
    assert found == {("locks.py", "fcntl")}
