"""Columns and sets of the table of answers; its values are tested with the command and with `TrainedRun`."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from dml_lightning.gallery.boxes import own_columns, relative, sets_of
from dml_lightning.gallery.gallery import Gallery


def test_sets_are_there_or_the_reason(stored: Path) -> None:
    gallery = Gallery.load(stored)
    sets, reason = sets_of(gallery, 0.2)
    assert sets is not None
    assert (sets.alpha, reason) == (0.2, "")
    bare = replace(gallery, calibration=None)
    sets, reason = sets_of(bare, None)
    assert sets is None
    assert "keeps no calibration crops by class" in reason
    for asked in ({"alpha": 0.2}, {"alpha": None, "needed": True}):
        with pytest.raises(ValueError, match="keeps no calibration crops by class"):
            sets_of(bare, **asked)


def test_each_rule_has_its_columns(stored: Path) -> None:
    names = own_columns(Gallery.load(stored))
    assert {"species", "ood_score_C_class", "threshold_A"} <= {*names}


def test_frames_are_named_from_the_folder_of_the_data() -> None:
    table = pd.DataFrame({"frame": ["/data/a/1.png", "/else/2.png"]})
    assert relative(table, Path("/data"))["frame"].tolist() == ["a/1.png", "../else/2.png"]
