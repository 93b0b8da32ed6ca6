"""Lines about a data set: frames, groups, classes and pixels."""

from pathlib import Path

import pytest

from dml_lightning.data import overview
from dml_lightning.data.looks import look_at_all
from dml_lightning.data.pixels import frame_header
from dml_lightning.data.sources.recognise import read_source
from tests.data.checking import clean, save


def test_only_the_first_groups_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reading = read_source(save(tmp_path, clean(tmp_path)))
    headers = {frame: frame_header(frame) for frame in reading.frames["frame"]}
    assert overview.contents(reading, headers)[1] == "  3 groups (frames): night 0 (2), night 1 (2), night 2 (2)"
    monkeypatch.setattr(overview, "MOST_LISTED", 2)
    assert overview.contents(reading, headers)[1] == "  3 groups (frames): night 0 (2), night 1 (2) and 1 more"


def test_pixels_say_of_how_many_frames_they_are(tmp_path: Path) -> None:
    reading = read_source(save(tmp_path, clean(tmp_path)))
    looks, _ = look_at_all(reading.frames["frame"].tolist()[:4])
    assert overview.pixels(looks, 4)[0] == "  pixels of all frames:"
    assert overview.pixels(looks, 6)[0] == "  pixels of 4 of 6 frames, evenly spaced:"
    assert overview.pixels(looks, 6)[1].startswith(f"  TIFF (4): {min(look.low for look in looks):.6g} to ")
