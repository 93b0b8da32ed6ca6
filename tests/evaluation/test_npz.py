"""Arrays that are none, one by one, and files that hold other than they say."""

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dml_lightning.evaluation.npz import Arrays, check_arrays, read_arrays


def arrays(**change: Any) -> Arrays:
    plain: dict[str, NDArray[Any]] = {
        "vectors": np.ones((4, 2), np.float32),
        "labels": np.array(["duck"] * 4),
        "roles": np.array(["reference", "known"] * 2),
        "index": np.arange(4),
        "class_names": np.array(["duck"]),
        "logits": np.zeros((4, 1)),
        "head_weight": np.ones((1, 2)),
        "head_bias": np.zeros(1),
    }
    return plain | change


def with_number(key: str, row: int, value: float) -> Arrays:
    content = arrays()
    content[key] = content[key].astype(np.float64)
    content[key][row] = value
    return content


def test_plain_arrays_pass(tmp_path: Path) -> None:
    np.savez(tmp_path / "e.npz", **arrays())  # type: ignore[arg-type]
    found = read_arrays(tmp_path / "e.npz")
    check_arrays(found)
    assert {key: value.tolist() for key, value in found.items()} == {k: v.tolist() for k, v in arrays().items()}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (arrays(vectors=np.ones((4, 0))), r"vectors must be floating-point \(N, D\) with at least one column"),
        (arrays(index=np.array([0, 1, 2, np.nan])), "index must be integers, got float64"),
        (arrays(index=np.array(["0", "1", "2", "3"])), "index must be integers, got <U1"),
        (arrays(class_names=np.array("duck")), r"class_names must have 1 dimension\(s\), got \(\)"),
        (arrays(class_names=np.array([["duck"]])), r"class_names must have 1 dimension\(s\), got \(1, 1\)"),
        (arrays(class_names=np.array([0.5])), "class_names must be class names or integers, got float64"),
        (arrays(far_ood=np.array("fox")), "far_ood must have 1 dimension"),
        (arrays(logits=np.zeros((4, 1), complex)), "logits must be numbers, got complex128"),
        (arrays(head_weight=np.array([["a", "b"]])), "head_weight must be numbers, got <U1"),
        (with_number("logits", 2, np.nan), "row 2 of logits holds NaN or infinity"),
        (with_number("logits", 1, -np.inf), "row 1 of logits holds NaN or infinity"),
        (with_number("vectors", 3, 1e300), "row 3 of vectors holds NaN or infinity, or a number beyond those of 32"),
        (with_number("head_weight", 0, np.inf), "row 0 of head_weight holds"),
        (with_number("head_bias", 0, np.nan), "row 0 of head_bias holds"),
    ],
)
def test_an_array_that_does_not_fit_is_named(content: Arrays, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_arrays(content)


def test_an_array_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "e.npz", **arrays())  # type: ignore[arg-type]
    member = io.BytesIO()
    np.save(member, np.zeros((4, 2)))
    with zipfile.ZipFile(tmp_path / "e.npz", "a") as file, pytest.warns(UserWarning, match="Duplicate"):
        file.writestr("vectors.npy", member.getvalue())
    with pytest.raises(ValueError, match=r"e\.npz holds the array vectors twice"):
        read_arrays(tmp_path / "e.npz")


@pytest.mark.parametrize("shape", ["(99999999999999999,)", "(3000000000, 3000000000)", "(4, " + " " * 70000 + "2)"])
def test_a_header_that_promises_too_much_is_refused(tmp_path: Path, shape: str) -> None:
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    with zipfile.ZipFile(tmp_path / "e.npz", "w") as file:
        file.writestr("vectors.npy", b"\x93NUMPY\x02\x00" + struct.pack("<I", len(header)) + header)
    with pytest.raises(ValueError, match=r"e\.npz cannot be read as an npz file of plain arrays \(") as told:
        read_arrays(tmp_path / "e.npz")
    assert len(str(told.value)) < 600
