"""Ground sampling distances: metres on the ground per px of the picture that boxes are drawn on."""

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray

COLUMN = "gsd"  # of a table of boxes, where the data set states it


def check_gsd(gsd: float | None) -> None:
    """Refuses a distance that no camera has.

    Raises:
        ValueError: It is not a positive number.
    """
    if gsd is not None and not 0 < gsd < math.inf:
        raise ValueError(f"gsd is {gsd}; it is metres per px, a positive number such as 0.05.")


def ground_distances(table: pd.DataFrame) -> NDArray[np.float64]:
    """Ground sampling distance (N,) of each box of a table, m per px: as stated, or else by altitude and camera.

    Raises:
        ValueError: That of a frame is not known; the first such frame is named.
    """
    distances = table[COLUMN].to_numpy(np.float64) if COLUMN in table else np.full(len(table), np.nan)
    unstated = table["frame"][np.isnan(distances)]
    if len(unstated):
        from dml_lightning.data.positions import ground_scale

        by_camera = {frame: ground_scale(frame) for frame in unstated.unique()}
        distances = np.where(np.isnan(distances), table["frame"].map(by_camera).astype(float), distances)
    frames = table["frame"][np.isnan(distances)].unique()
    if len(frames):
        raise ValueError(
            f"{frames[0]}: its ground sampling distance is not known ({len(frames)} such frames), and sizes in metres "
            "need it: give metres per px as `gsd` of the COCO images or in a column of the CSV table, or as data.gsd "
            "of a config for all frames; the file itself states no altitude, focal length and view straight down."
        )
    return distances
