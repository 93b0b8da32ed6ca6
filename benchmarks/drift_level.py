"""How often `dml drift` finds drift in flights without any: the familywise level that it promises, by simulation.

    python benchmarks/drift_level.py [--tables 100] [--flights 20] [--level 0.05] [--seed 0]   # nothing is written
    python benchmarks/drift_level.py --tables 1000 --save                                # twenty minutes

Each table has new flights and is compared with calibration flights of 100 crops; all flights are alike but for an
offset that the crops of a flight share (intra-flight correlation). Rule C's threshold is that of the calibration at
5 %. Skewed scores are exp(x / 4) of normal ones, whose skewness is 0.8.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dml_lightning.flights.drift import FEWEST_BOXES, FlightDrift, flight_drift
from dml_lightning.openset import conformal_threshold
from measure import Result, options

PACKAGES = ("numpy", "scipy")
BOXES, CALIBRATION, CORRELATIONS = (5, 20, 100), (3, 5, 10, 20), (0.0, 0.1, 0.3, 0.5)
CROPS = 100  # of a calibration flight
Scores = NDArray[np.float64]


def flights(rng: np.random.Generator, count: int, boxes: int, correlation: float, skewed: bool) -> Scores:
    """Scores (count, boxes)."""
    shared, own = rng.normal(size=(count, 1)), rng.normal(size=(count, boxes))
    scores: Scores = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own
    return np.exp(scores / 4) if skewed else scores


def table_of_drift(
    rng: np.random.Generator, new: int, boxes: int, calibration: int, correlation: float, skewed: bool, level: float
) -> list[FlightDrift]:
    """Results of one table of new flights without drift."""
    held_out = flights(rng, calibration, CROPS, correlation, skewed)
    return flight_drift(
        held_out.ravel(),
        np.repeat(np.arange(calibration), CROPS),
        flights(rng, new, boxes, correlation, skewed).ravel(),
        np.repeat([f"{number:04d}" for number in range(new)], boxes),
        conformal_threshold(held_out.ravel(), 0.05).value,
        level,
    )


def without_a_test(each: FlightDrift) -> bool:
    """Whether nearly all boxes lie beyond the threshold, which alone was called drift up to version 0.1."""
    return each.used < FEWEST_BOXES <= each.boxes - each.used


def rates(
    tables: int, new: int, boxes: int, calibration: int, correlation: float, skewed: bool, level: float, seed: int
) -> tuple[float, float]:
    """Share of tables with a flight that drifted, and with one that would have without a test."""
    rng = np.random.default_rng([seed, boxes, calibration, int(100 * correlation), skewed])
    results = [table_of_drift(rng, new, boxes, calibration, correlation, skewed, level) for _ in range(tables)]
    alarms = [any(each.drifted for each in result) for result in results]
    before = [any(each.drifted or without_a_test(each) for each in result) for result in results]
    return float(np.mean(alarms)), float(np.mean(before))


def rows(tables: int, new: int, level: float, seed: int) -> Iterator[tuple[str, ...]]:
    for skewed in (False, True):
        for correlation in CORRELATIONS:
            for calibration in CALIBRATION:
                cells = [rates(tables, new, boxes, calibration, correlation, skewed, level, seed) for boxes in BOXES]
                shares = [f"{100 * now:.1f} % ({100 * before:.1f} %)" for now, before in cells]
                yield "skewed" if skewed else "normal", f"{correlation:g}", str(calibration), *shares


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--tables", type=int, default=100)
    parser.add_argument("--flights", type=int, default=20, help="new flights of a table")
    parser.add_argument("--level", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with Result(__file__, "False alarms of the drift test", PACKAGES, args) as result:
        error = np.sqrt(args.level * (1 - args.level) / args.tables)
        result.text(
            f"{args.tables} tables of {args.flights} new flights without drift; promised: a false alarm in at most "
            f"{100 * args.level:g} % of tables. Standard error there {100 * error:.1f} %. In brackets: if a flight "
            "with nearly all boxes beyond the threshold were called drifted without a test."
        )
        heads = ("scores", "correlation", "calibration flights", *(f"{boxes} boxes" for boxes in BOXES))
        result.table(heads, rows(args.tables, args.flights, args.level, args.seed))


if __name__ == "__main__":
    main()
