"""The one error of reading a frame."""

import pickle
from pathlib import Path

from dml_lightning.data.pixels.errors import READABLE, FrameError


def test_the_sentence_names_the_file_what_came_and_what_would_work() -> None:
    error = FrameError(Path("f1") / "a.tif", "the file is empty")
    assert str(error) == f"f1/a.tif: the file is empty; {READABLE}."
    assert error.path == "f1/a.tif"
    assert isinstance(error, ValueError)


def test_frame_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(FrameError("a.tif", "the file is empty", "use another")))
    assert isinstance(error, FrameError)
    assert str(error) == "a.tif: the file is empty; use another."
    assert error.path == "a.tif"
