"""Names of a package that import their module when they are first asked for, so that its light modules stay light."""

import importlib
import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any


def lazy(package: str, modules: Mapping[str, Collection[str]]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Makes the functions `__getattr__` and `__dir__` of a package.

    Args:
        package: Full name of the package.
        modules: Names that the package exports, by module below it.

    Example:
        >>> get, names = lazy("dml_lightning", {"theory": ["max_feasible_margin"]})
        >>> get("max_feasible_margin").__module__
        'dml_lightning.theory'
    """
    where = {name: module for module, names in modules.items() for name in names}

    def get(name: str) -> Any:
        if name not in where:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{where[name]}"), name)

    def every() -> list[str]:
        return sorted({*vars(sys.modules[package]), *where})

    return get, every
