"""The arguments that a module was made with, in the plain form of a config: `class_path` and `init_args`."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

MADE_WITH = "_made_with"  # attribute that holds the arguments


class NotPlainError(ValueError):
    """A value that a file of plain values cannot hold."""


def remember(made: object, kind: type, names: Mapping[str, Any]) -> None:
    """Keep the arguments that an object is made with; the first line of `__init__`.

    The arguments of a subclass that does not call this are not known, and so are not kept.

    Args:
        made: The object.
        kind: Class whose `__init__` this is.
        names: Its `locals()`, when it has none but its arguments; a dictionary `common` holds further ones.

    Example:
        >>> class Margin:
        ...     def __init__(self, margin: float = 0.2) -> None:
        ...         remember(self, Margin, locals())
        >>> described(Margin(0.3))["init_args"]
        {'margin': 0.3}
    """
    if type(made) is kind:
        given = {name: value for name, value in names.items() if name not in ("self", "__class__", "common")}
        vars(made)[MADE_WITH] = {**given, **names.get("common", {})}


def arguments_of(made: object) -> dict[str, Any] | None:
    """The arguments that were kept; None where none were."""
    kept: dict[str, Any] | None = vars(made).get(MADE_WITH) if hasattr(made, "__dict__") else None
    return kept


def path_of(kind: type) -> str:
    """Name by which a class can be imported.

    Raises:
        NotPlainError: If there is none.

    Example:
        >>> path_of(NotPlainError)
        'dml_lightning.arguments.NotPlainError'
    """
    if kind.__module__ == "__main__" or "<" in kind.__qualname__:
        raise NotPlainError(f"{kind.__qualname__} cannot be imported")
    return f"{kind.__module__}.{kind.__qualname__}"


def described(value: Any) -> Any:
    """A value in plain types; a class, a partial call of one and an object that called `remember` by `class_path`.

    Raises:
        NotPlainError: If it is or holds anything else.

    Example:
        >>> from collections import Counter
        >>> described({"sizes": (1, np.int64(2)), "make": Counter})
        {'sizes': [1, 2], 'make': {'class_path': 'collections.Counter', 'init_args': {}}}
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, list | tuple):
        return [described(each) for each in value]
    if isinstance(value, dict):
        return {described(name): described(each) for name, each in value.items()}
    made = (
        value if isinstance(value, partial) and not value.args else partial(value) if isinstance(value, type) else None
    )
    if made is not None and isinstance(made.func, type):
        return {"class_path": path_of(made.func), "init_args": described(made.keywords)}
    if (kept := arguments_of(value)) is not None:
        return {"class_path": path_of(type(value)), "init_args": described(kept)}
    raise NotPlainError(f"{type(value).__name__} is no plain value")
