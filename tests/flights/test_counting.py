"""What a table of counts warns of; `test_confusion` and `test_predictions` count crops and boxes."""

import numpy as np

from dml_lightning.evaluation.split import Rows, Split
from dml_lightning.flights.confusion import OTHER, Confusion
from dml_lightning.flights.counting import cautions
from dml_lightning.flights.counts import Correction
from dml_lightning.types import SETS, UNKNOWN


def test_a_range_is_said_to_be_one_and_why() -> None:
    """Also with many flights, if each has a crop of a class at most: their matrices cannot be compared."""
    none = Rows(np.empty((0, 4), np.float32), *(np.empty(0, np.int64) for _ in range(2)))
    held_out = Split(dict.fromkeys(SETS, none), [], 0, dict.fromkeys(SETS, np.empty(0, str)), {})
    for flights, message in ((4, "4 held-out flight(s) of species: low"), (6, "6 held-out flight(s) of species with")):
        single = np.zeros((flights, 3, 3))
        single[:, 0, 0] = 1
        matrix = Confusion(["coot", "mallard", OTHER], ["coot", "mallard", UNKNOWN], single, list("abcdef")[:flights])
        assert Correction(matrix).limits == "range"
        assert message in cautions(matrix, held_out, ["new"])[0]
    single[:, 0, 0] = 2
    assert "range" not in " ".join(cautions(matrix, held_out, ["new"]))
