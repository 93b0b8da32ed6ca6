"""Boxes that come in batches reach each receiver once per frame."""

import pandas as pd

from dml_lightning.flights.whole_frames import WholeFrames


def test_boxes_of_a_frame_come_together_and_as_soon_as_they_are_there() -> None:
    seen: list[tuple[str, list[int]]] = []
    names: list[str] = []
    frames = WholeFrames(
        lambda frame, rows: seen.append((frame, rows["x"].tolist())), lambda frame, _: names.append(frame)
    )
    frames.add(pd.DataFrame({"frame": ["b", "b", "a"], "x": [1, 2, 3]}))
    assert seen == [("b", [1, 2])]  # a may go on
    frames.add(pd.DataFrame({"frame": [], "x": []}))
    frames.add(pd.DataFrame({"frame": ["a", "c"], "x": [4, 5]}))
    assert seen[1:] == [("a", [3, 4])]
    frames.finish()
    frames.finish()
    assert seen[2:] == [("c", [5])]
    assert names == ["b", "a", "c"]


def test_no_boxes_call_nobody() -> None:
    frames = WholeFrames(lambda frame, rows: 1 / 0)
    frames.add(pd.DataFrame())
    frames.finish()
