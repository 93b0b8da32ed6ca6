"""Digests of the source files of classes that a recipe names outside of this package: other code is another run."""

import hashlib
import inspect
import pydoc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PACKAGE = __name__.partition(".")[0]


def source_digests(recipe: Any) -> dict[str, str]:
    """Digest of the module's file of every class that a recipe names by `class_path` outside of this package.

    What that file imports in turn is not covered; of this package `runs.folder.code_digest` covers every file.

    Args:
        recipe: Recipe, or a part of it, whose classes can be imported and may be.

    Returns:
        Digest by `class_path`, in alphabetical order; a class without a file, of C for instance, is left out.

    Example:
        >>> list(source_digests({"model": {"loss": {"class_path": "torch.nn.Linear"}}, "encoder": "resnet18"}))
        ['torch.nn.Linear']
    """
    named = sorted({path for path in _class_paths(recipe) if path.partition(".")[0] != PACKAGE})
    files = {path: file for path in named if (file := _file(path)) is not None}
    return {path: hashlib.sha256(file.read_bytes()).hexdigest()[:16] for path, file in files.items()}


def _class_paths(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("class_path"), str):
            yield node["class_path"]
        for value in node.values():
            yield from _class_paths(value)
    elif isinstance(node, list):
        for value in node:
            yield from _class_paths(value)


def _file(class_path: str) -> Path | None:
    """File of the module that defines a class."""
    module = inspect.getmodule(pydoc.locate(class_path))
    name = getattr(module, "__file__", None)
    return Path(name) if name else None
