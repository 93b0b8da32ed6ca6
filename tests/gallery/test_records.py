"""The append-only folder under a gallery."""

import json
import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from dml_lightning.files import sharing
from dml_lightning.gallery import records


def test_what_was_appended_is_read_in_order(tmp_path: Path) -> None:
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array(3, np.int64)}
    assert records.append(tmp_path / "g", "base", {"x": [1, "two"]}, arrays) == 0
    assert records.append(tmp_path / "g", "change", {}, {}) == 1
    first, second = records.read(tmp_path / "g")
    assert (first.number, first.kind, first.words["x"]) == (0, "base", [1, "two"])
    assert (second.number, second.kind, second.arrays) == (1, "change", {})
    for key, value in arrays.items():
        assert first.arrays[key].dtype == value.dtype
        assert np.array_equal(first.arrays[key], value)


def test_a_folder_that_is_not_there_has_no_records(tmp_path: Path) -> None:
    assert records.read(tmp_path / "nothing") == []


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    records.append(tmp_path, "base", {}, {"a": np.ones(2)})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    records.append(tmp_path, "base", {}, {"a": np.zeros(2)})
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    assert not list(tmp_path.glob(".*"))


def _append(folder: Path, value: int) -> None:
    for _ in range(5):
        records.append(folder, "enroll", {"value": value}, {"a": np.full(3, value)})


def test_writers_at_the_same_time_all_get_a_number(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_append, args=(tmp_path, value)) for value in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(timeout=60)
    result = records.read(tmp_path)
    assert [record.number for record in result] == list(range(20))
    assert sorted(record.words["value"] for record in result) == sorted(5 * [0, 1, 2, 3])
    assert all((record.arrays["a"] == record.words["value"]).all() for record in result)
    assert len(list(tmp_path.iterdir())) == 40  # nothing else stays


def test_a_taken_number_is_left_to_its_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that counted before another one wrote."""
    records.append(tmp_path, "base", {"who": "first"}, {})
    monkeypatch.setattr(records, "_files", lambda _: [])
    assert records.append(tmp_path, "enroll", {"who": "second"}, {}) == 1
    monkeypatch.undo()
    assert [record.words["who"] for record in records.read(tmp_path)] == ["first", "second"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for value in range(3):
        records.append(tmp_path, "base", {}, {"a": np.full(4, float(value))})
    return tmp_path


def no_links(*_: object) -> None:
    raise PermissionError(1, "Operation not permitted")  # what Linux says of FAT


def test_a_file_system_without_hard_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records.os, "link", no_links)
    records.append(tmp_path, "base", {"who": "first"}, {"a": np.ones(2)})
    monkeypatch.setattr(records, "_files", lambda _: [])  # a taken number stays with its owner
    assert records.append(tmp_path, "enroll", {"who": "second"}, {}) == 1
    monkeypatch.undo()
    assert [record.words["who"] for record in records.read(tmp_path)] == ["first", "second"]
    assert len(list(tmp_path.iterdir())) == 4


def test_writers_at_the_same_time_need_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records.os, "link", no_links)
    test_writers_at_the_same_time_all_get_a_number(tmp_path)


def test_what_a_killed_writer_left_goes_with_the_next_record(folder: Path) -> None:
    (folder / ".0123456789ab.tmp").touch()
    number = records.append(folder, "enroll", {}, {"a": np.ones(3)})
    assert not list(folder.glob(".*"))
    (folder / ".0123456789ab.tmp").touch()
    with sharing(folder):  # as another writer does
        (folder / ".of_another.tmp").touch()
        assert records.append(folder, "enroll", {}, {"a": np.ones(3)}) == number + 1
        assert [path.name for path in folder.glob(".*")] == [".of_another.tmp"]


@pytest.mark.parametrize("write", [1, 2, 3])
def test_a_write_that_fails_leaves_no_trace(folder: Path, monkeypatch: pytest.MonkeyPatch, write: int) -> None:
    """The arrays, the words, or the words again where there are no hard links."""
    before = sorted(path.name for path in folder.iterdir())
    writes = []

    def full(_: int) -> None:
        writes.append(1)
        if len(writes) == write:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(records.os, "link", no_links)
    monkeypatch.setattr(records.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        records.append(folder, "enroll", {}, {"a": np.ones(3)})
    assert sorted(path.name for path in folder.iterdir()) == before


def test_changed_arrays_are_refused(folder: Path) -> None:
    data = next(folder.glob("0001-*.safetensors"))
    content = bytearray(data.read_bytes())
    content[-1] ^= 1
    data.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"is damaged: its content is not what 0001\.json says"):
        records.read(folder)


def test_missing_arrays_are_refused(folder: Path) -> None:
    next(folder.glob("0002-*.safetensors")).unlink()
    with pytest.raises(ValueError, match="is missing: restore the whole folder"):
        records.read(folder)


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"format": 1}', '{"format": "x", "kind": "a"}'])
def test_a_damaged_record_is_refused(folder: Path, text: str) -> None:
    (folder / "0001.json").write_text(text)
    with pytest.raises(ValueError, match=r"0001\.json is damaged"):
        records.read(folder)


def test_changed_words_are_refused(folder: Path) -> None:
    path = folder / "0001.json"
    path.write_text(path.read_text().replace('"base"', '"best"'))
    with pytest.raises(ValueError, match=r"0001\.json is damaged"):
        records.read(folder)


def test_a_gap_is_refused(folder: Path) -> None:
    (folder / "0001.json").unlink()
    with pytest.raises(ValueError, match=r"lacks 0001\.json, but has 0002\.json"):
        records.read(folder)


def test_a_newer_format_is_refused(folder: Path) -> None:
    path = folder / "0002.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"format": records.RECORD_FORMAT + 1}))
    with pytest.raises(ValueError, match="install a newer"):
        records.read(folder)
