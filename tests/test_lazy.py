"""Names that import their module when they are asked for."""

import subprocess
import sys

import pytest

from dml_lightning.lazy import lazy


def test_a_name_is_that_of_its_module() -> None:
    from dml_lightning import theory

    get, names = lazy("dml_lightning", {"theory": ["max_feasible_margin", "margin_table"]})
    assert get("margin_table") is theory.margin_table
    assert {"max_feasible_margin", "margin_table", "__version__"} <= set(names())
    with pytest.raises(AttributeError, match="module 'dml_lightning' has no attribute 'margin'"):
        get("margin")


def test_packages_are_imported_without_their_modules() -> None:
    packages = (
        "dml_lightning.data, dml_lightning.losses, dml_lightning.metrics, dml_lightning.models, dml_lightning.openset"
    )
    code = f"import sys, {packages}; print(*[name for name in ('torch', 'pandas') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
