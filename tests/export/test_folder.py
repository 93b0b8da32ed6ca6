"""The exported folder: whole or not at all, and the unit of its crops."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile

from dml_lightning.data.crops import CropOptions
from dml_lightning.data.frames import Radiometry
from dml_lightning.export import folder
from dml_lightning.gallery.trained import TrainedRun
from tests.export.made_up import random_run


@pytest.fixture
def trained(tmp_path: Path) -> TrainedRun:
    return random_run(tmp_path / "run")


def test_nothing_is_left_of_an_export_that_fails(
    trained: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(temporary: Path, *_: Any) -> list[str]:
        (temporary / "encoder.onnx").write_text("half")
        raise ValueError("differs")

    monkeypatch.setattr(folder, "_fill", fail)
    with pytest.raises(ValueError, match="differs"):
        folder.write_folder(trained, tmp_path / "out" / "model", "counts", None)
    assert list((tmp_path / "out").iterdir()) == []


def test_the_unit_is_that_of_the_frames(trained: TrainedRun, tmp_path: Path) -> None:
    for name, dtype in (("counts", "uint16"), ("degC", "float32")):
        tifffile.imwrite(tmp_path / f"{name}.tiff", np.full((8, 8), 12, dtype))
        frames = [str(tmp_path / "gone.tiff"), str(tmp_path / f"{name}.tiff")]
        assert folder.unit_of(trained, pd.DataFrame({"frame": frames}), None) == name
    with pytest.raises(ValueError, match="say --unit counts or --unit degC"):
        folder.unit_of(trained, None, None)
    assert folder.unit_of(trained, None, "degC") == "degC"


def test_a_radiometry_means_celsius(trained: TrainedRun) -> None:
    options = CropOptions(crop_size=16, radiometry=Radiometry(0.01, -273.15))
    celsius = replace(trained, options=options)
    assert folder.unit_of(celsius, None, None) == "degC"
    with pytest.raises(ValueError, match="turns its frames into degC"):
        folder.unit_of(celsius, None, "counts")
