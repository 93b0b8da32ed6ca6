"""Files that are whole or absent, locks, and JSON."""

import errno
import math
import multiprocessing as mp
import os
import signal
import subprocess
import sys
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

from dml_lightning import files
from dml_lightning.errors import system_sentence


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


def test_an_error_of_the_system_names_the_file_that_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(OSError, match=rf"No space left on device: '{path}'"), files.replacing(path):
        raise OSError(errno.ENOSPC, "No space left on device")
    cause = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(RuntimeError) as raised, files.replacing(path):
        raise RuntimeError("unexpected pos 64 vs 0") from cause  # as PyTorch's writer does
    assert str(system_sentence(raised.value)).startswith(f"{path}: No space left on device; make room")
    with pytest.raises(OSError, match=r"'frame\.tiff'"), files.replacing(path):
        raise OSError(errno.EIO, "Input/output error", "frame.tiff")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "old"
    with pytest.raises(NotADirectoryError, match=r"file/below'$"):
        files.write_text(path / "below" / "x", "")
    long = tmp_path / ("x" * 255)  # a name that the temporary file's is too long for
    with pytest.raises(OSError, match=rf"File name too long: '{long}'$"):
        files.write_text(long, "")


def test_a_limit_of_file_sizes_leaves_what_stood_before(tmp_path: Path) -> None:
    program = f"""
import resource, sys
from dml_lightning import files
from dml_lightning.errors import system_sentence
from pathlib import Path
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
files.write_text(Path({str(tmp_path / "file")!r}), "x" * 2000)
"""
    (tmp_path / "file").write_text("old")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == f"OSError: [Errno 27] File too large: '{tmp_path / 'file'}'"
    assert (tmp_path / "file").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_what_is_no_file_is_never_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/null"), tmp_path):
        with pytest.raises(ValueError, match=f"{path} is a folder, a pipe or a device; name a file to write"):
            files.write_text(path, "")
    assert (tmp_path / "pipe").is_fifo()


def test_the_next_start_removes_what_a_killed_one_left_and_nothing_that_is_being_written(tmp_path: Path) -> None:
    program = f"""
import os, signal
from dml_lightning import files
from dml_lightning.errors import system_sentence
from pathlib import Path
with files.replacing(Path({str(tmp_path)!r}, "file")), files.replacing_folder(Path({str(tmp_path)!r}, "folder")) as new:
    (new / "half").touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list(tmp_path.glob(".*.tmp"))) == 2
    (tmp_path / ".file2.1.tmp").touch()  # of another file
    with files.replacing(tmp_path / "file") as first:
        first.write(b"first")
        with files.replacing_folder(tmp_path / "folder") as folder:
            (folder / "whole").touch()
            context = mp.get_context("fork")
            process = context.Process(target=files.write_text, args=(tmp_path / "file", "second"))
            process.start()
            process.join()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".file2.1.tmp", "file", "folder"]
    assert (tmp_path / "file").read_text() == "first"
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["whole"]


def test_an_output_is_no_input(tmp_path: Path) -> None:
    (tmp_path / "table.csv").touch()
    (tmp_path / "link.csv").symlink_to("table.csv")
    for path in (tmp_path / "table.csv", tmp_path / "link.csv", tmp_path / "other" / ".." / "table.csv"):
        with pytest.raises(ValueError, match=r"^--out .* is what the command reads; name another to write\.$"):
            files.check_output("--out", path, ["elsewhere", tmp_path / "table.csv"])
    files.check_output("--out", tmp_path / "new.csv", [tmp_path / "table.csv", tmp_path])


@pytest.mark.parametrize("mark", files.RUN_MARKS)
def test_an_output_is_no_file_that_a_run_lives_on(tmp_path: Path, mark: str) -> None:
    (tmp_path / mark).touch()
    own = ("run.json", "recipe.fit.yaml", "gallery/x.csv", "digests/val.json", "embeddings/test.npz", "declared.json")
    for name in (*own, "metrics"):
        with pytest.raises(ValueError, match=f"^--out .* is a file of the run {tmp_path} itself"):
            files.check_output("--out", tmp_path / name)
    for name in ("report.html", "predictions.csv", "pictures/run.json"):
        files.check_output("--out", tmp_path / name)


@pytest.mark.parametrize("name", ["", " ", "..", ".", "../x", "a/../../x", "/tmp/x", "a//b", "a/", "a\0"])
def test_a_name_that_is_no_path_below_a_folder_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"^--name .* must name a folder below another"):
        files.check_name("--name", name)
