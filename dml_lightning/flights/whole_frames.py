"""Boxes that come in batches, handed over frame by frame."""

from collections.abc import Callable

import pandas as pd


class WholeFrames:
    """Hands all boxes of a frame over together, as soon as they have come.

    Args:
        receivers: Functions that are called with a frame's path and its boxes.
    """

    def __init__(self, *receivers: Callable[[str, pd.DataFrame], None]) -> None:
        self._receivers = receivers
        self._waiting = pd.DataFrame()

    def add(self, rows: pd.DataFrame) -> None:
        """Adds boxes in frame order; those of a frame may come in several calls.

        Args:
            rows: Table with the column frame.
        """
        if rows.empty:
            return
        rows = pd.concat([self._waiting, rows])
        last = rows["frame"] == rows["frame"].iloc[-1]
        self._hand_over(rows[~last])
        self._waiting = rows[last]

    def finish(self) -> None:
        """Hands over the last frame, if any box was added."""
        if len(self._waiting):
            self._hand_over(self._waiting)
        self._waiting = pd.DataFrame()

    def _hand_over(self, rows: pd.DataFrame) -> None:
        for frame, boxes in rows.groupby("frame", sort=False) if self._receivers else ():
            for receive in self._receivers:
                receive(str(frame), boxes)
