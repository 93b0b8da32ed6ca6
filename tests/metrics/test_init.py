"""The metrics as they are imported: the functions need no torchmetrics, the classes come when they are asked for."""

import subprocess
import sys

import pytest
from torchmetrics import Metric

import dml_lightning.metrics


def test_functions_import_no_torchmetrics() -> None:
    code = (
        "import sys, dml_lightning.metrics\n"
        "from dml_lightning.metrics.functional import recall_at_k\n"
        "print(sorted({'torchmetrics', 'torchvision', 'lightning'} & set(sys.modules)))\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_every_name_is_there() -> None:
    for name in dml_lightning.metrics.__all__:
        assert issubclass(getattr(dml_lightning.metrics, name), Metric)
        assert name in dir(dml_lightning.metrics)
    with pytest.raises(AttributeError, match=r"'dml_lightning.metrics' has no attribute 'DistanceRatio'"):
        _ = dml_lightning.metrics.DistanceRatio
