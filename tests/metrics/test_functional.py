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


def test_names_are_listed_once_in_their_order() -> None:
    assert list(functional.__all__) == sorted(set(functional.__all__))
