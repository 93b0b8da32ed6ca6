"""Append-only folder of records, each a JSON file beside a safetensors file with its arrays.

```
0000.json   {"format": 3, "kind": "base", "file": "0000-5f0c....safetensors", "sha256": ..., ...}
0001.json   {"format": 3, "kind": "enroll", ...}
```
A record exists once its JSON file does, which is written last and in one step; no record is ever changed. Two writers
never take the same number.
"""

import hashlib
import json
import os
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from dml_lightning.files import sharing
from dml_lightning.runs.recipes import recipe_path

RECORD_FORMAT = 3  # format of new records; 1 and 2 are still read


@dataclass(frozen=True)
class Record:
    """One entry of the folder."""

    number: int
    kind: str
    format: int
    words: dict[str, Any]  # fields of the JSON file
    arrays: dict[str, NDArray[Any]]


def append(folder: Path, kind: str, words: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> int:
    """Add a record, whole or not at all, and return its number.

    Args:
        folder: Folder of the records; it is made where there is none.
        kind: Kind of the record, such as "base" or "enroll".
        words: Further fields of the JSON file.
        arrays: Arrays of the safetensors file by name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = save({key: np.array(value, order="C") for key, value in arrays.items()})
    with sharing(folder):
        return _append(folder, kind, words, content)


def _append(folder: Path, kind: str, words: Mapping[str, Any], content: bytes) -> int:
    token = uuid.uuid4().hex[:12]
    temporary = folder / f".{token}.tmp"
    number = len(_files(folder))
    while True:
        data = folder / f"{number:04d}-{token}.safetensors"
        head = {
            "format": RECORD_FORMAT,
            "kind": kind,
            "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "file": data.name,
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        fields = {**head, **words}
        text = json.dumps({**fields, "words_sha256": _digest(fields)}, indent=2) + "\n"
        try:
            _write(temporary, content)
            temporary.replace(data)
            _write(temporary, text.encode())
            _publish(temporary, folder / f"{number:04d}.json")  # fails where that number is taken
            return number
        except FileExistsError:
            data.unlink()
            number += 1
        except BaseException:
            data.unlink(missing_ok=True)
            raise
        finally:
            temporary.unlink(missing_ok=True)


def read(folder: Path) -> list[Record]:
    """Read all records in their order.

    Raises:
        ValueError: If a file is damaged, missing or of a newer format.
    """
    return [_record(number, path) for number, path in enumerate(_files(folder))]


def check_gallery(folder: Path) -> None:
    """Refuse a folder without records.

    Raises:
        ValueError: If there is none.
    """
    if not _files(folder):
        raise ValueError(f"{folder.parent} has no gallery: `dml fit` writes it when training ends.")


def check_trained(run: Path) -> None:
    """Refuse a folder that no fit has finished in.

    Raises:
        ValueError: If it is no run's folder, or has no gallery.
    """
    recipe_path(run)
    check_gallery(run / "gallery")


def _write(path: Path, content: bytes) -> None:
    """Write a file and sync it to the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _publish(source: Path, target: Path) -> None:
    """Give a written file its name: in one step where the file system has hard links, else by a single write.

    Raises:
        FileExistsError: If the name is taken.
    """
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # FAT, some network and cloud file systems, each with its own error number
        _write_new(target, source.read_bytes())


def _write_new(path: Path, content: bytes) -> None:
    """Write a file that must not exist yet; remove it again if writing fails."""
    with path.open("xb", buffering=0) as file:
        try:
            file.write(content)
            os.fsync(file.fileno())
        except BaseException:
            path.unlink()
            raise


def _digest(fields: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def _files(folder: Path) -> list[Path]:
    """The JSON files 0000, 0001, ... in their order.

    Raises:
        ValueError: If a number is missing, as later records may depend on that one.
    """
    numbered = sorted((int(path.stem), path) for path in folder.glob("*.json") if path.stem.isdigit())
    for place, (number, _) in enumerate(numbered):
        if number != place:
            raise ValueError(f"{folder} lacks {place:04d}.json, but has {number:04d}.json: restore the whole folder.")
    return [path for _, path in numbered]


def _record(number: int, path: Path) -> Record:
    try:
        fields: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version, stated = int(fields["format"]), fields.pop("words_sha256", None)
        if version <= RECORD_FORMAT and stated not in (None, _digest(fields)):
            raise ValueError("its fields are not those that were written")
        kind, data, digest = str(fields["kind"]), path.with_name(fields["file"]), fields["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({type(error).__name__}: {error}).") from None
    if version > RECORD_FORMAT:
        raise ValueError(
            f"{path} has the format {version}, and this version reads {RECORD_FORMAT}: install a newer dml-lightning."
        )
    if not data.is_file():
        raise ValueError(f"{path} names {data.name}, which is missing: restore the whole folder.")
    content = data.read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        raise ValueError(f"{data} is damaged: its content is not what {path.name} says.")
    try:
        arrays = load(content)
    except SafetensorError as error:
        raise ValueError(f"{data} is damaged ({error}).") from None
    return Record(number, kind, version, fields, arrays)
