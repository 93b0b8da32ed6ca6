"""The arrays of an npz file of embeddings, read without unpickling and checked one by one."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]

NEEDED = ("vectors", "labels", "roles")
# array with a row for each crop -> number of its dimensions
ROW_BY_ROW = {"labels": 1, "roles": 1, "groups": 1, "index": 1, "logits": 2, "features": 2, "thumbnails": 3}
LISTS = ("class_names", "far_ood")
# array -> kinds of its elements (as in NumPy's dtype.kind), and what they are called
KINDS = {
    "labels": ("iuUS", "class names or integers"),
    "index": ("iu", "integers"),
    "class_names": ("iuUS", "class names or integers"),
    "far_ood": ("iuUS", "class names or integers"),
    "logits": ("fiu", "numbers"),
    "features": ("f", "numbers"),
    "head_weight": ("fiu", "numbers"),
    "head_bias": ("fiu", "numbers"),
    "reject_weight": ("fiu", "numbers"),
    "reject_bias": ("fiu", "numbers"),
    "other_groups": ("b", "true or false"),
}
# as float32, in which they are used
FINITE = ("vectors", "logits", "features", "head_weight", "head_bias", "reject_weight", "reject_bias")


def test_file(source: Path) -> Path:
    """Path of the test embeddings of a run's folder; an npz file is its own.

    Example:
        >>> test_file(Path("runs/triplet")).as_posix()
        'runs/triplet/embeddings/test.npz'
    """
    return source if source.suffix == ".npz" else source / "embeddings" / "test.npz"


def check_file(path: Path) -> None:
    """Refuse a path without a file.

    Raises:
        ValueError: If there is none.
    """
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file.")


def read_arrays(path: Path, skip: Collection[str] = ()) -> Arrays:
    """Read the arrays of a file.

    Args:
        path: The file, .npz.
        skip: Names of arrays that are left out.

    Raises:
        ValueError: If the file is missing or unreadable, holds an array twice, or lacks one that is needed.
    """
    check_file(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            names = list(file.files)
            arrays = {key: np.asarray(file[key]) for key in names if key not in skip}
    except Exception as error:  # a damaged file makes NumPy and zipfile raise nearly anything
        what = str(error) or type(error).__name__
        raise ValueError(f"{path} cannot be read as an npz file of plain arrays ({what}).") from None
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{path} holds the array {twice[0]} twice.")
    missing = [key for key in NEEDED if key not in arrays]
    if missing:
        raise ValueError(f"{path} lacks the array(s) {', '.join(missing)}; it has {', '.join(sorted(arrays))}.")
    return arrays


def check_arrays(arrays: Arrays) -> None:
    """Refuse arrays of another shape or kind than `read_evidence` documents, and numbers that are none.

    Raises:
        ValueError: Names the array, and the row where it is about one.
    """
    vectors = arrays["vectors"]
    if vectors.ndim != 2 or not vectors.shape[1] or not np.issubdtype(vectors.dtype, np.floating):
        raise ValueError(
            f"vectors must be floating-point (N, D) with at least one column, got {vectors.dtype} {vectors.shape}."
        )
    for key, dimensions in {**ROW_BY_ROW, **dict.fromkeys(LISTS, 1)}.items():
        if key in arrays and arrays[key].ndim != dimensions:
            raise ValueError(f"{key} must have {dimensions} dimension(s), got {arrays[key].shape}.")
    if "other_groups" in arrays and arrays["other_groups"].size != 1:
        raise ValueError(f"other_groups must be one value, got {arrays['other_groups'].shape}.")
    for key in ROW_BY_ROW:
        if key in arrays and len(arrays[key]) != len(vectors):
            raise ValueError(f"{key} has {len(arrays[key])} rows, vectors has {len(vectors)}.")
    for key, (kinds, what) in KINDS.items():
        if key in arrays and len(arrays[key].ravel()) and arrays[key].dtype.kind not in kinds:
            raise ValueError(f"{key} must be {what}, got {arrays[key].dtype}.")
    if "thumbnails" in arrays and arrays["thumbnails"].dtype != np.uint8:
        raise ValueError(f"thumbnails must be uint8, got {arrays['thumbnails'].dtype}.")
    for key in FINITE:
        if key in arrays:
            _check_finite(key, arrays[key])


def _check_finite(key: str, array: NDArray[Any]) -> None:
    with np.errstate(over="ignore"):
        bad = ~np.isfinite(array.astype(np.float32))
    if bad.any():
        row = int(np.argwhere(bad)[0][0])
        raise ValueError(f"row {row} of {key} holds NaN or infinity, or a number beyond those of 32 bits.")
