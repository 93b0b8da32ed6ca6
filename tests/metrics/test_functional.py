"""Every metric under one name."""

from importlib import import_module

import pytest

from dml_lightning.metrics import functional


@pytest.mark.parametrize("name", functional.__all__)
def test_every_name_is_the_object_of_its_own_module(name: str) -> None:
    found = getattr(functional, name)
    assert found.__name__ == name
    assert found is getattr(import_module(found.__module__), name)
    assert found.__doc__


def test_nothing_else_is_exported() -> None:
    public = {
        name for name, value in vars(functional).items() if not name.startswith("_") and hasattr(value, "__module__")
    }
    assert public == set(functional.__all__)
    assert list(functional.__all__) == sorted(functional.__all__)
