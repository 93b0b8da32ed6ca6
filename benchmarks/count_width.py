"""How wide the intervals of `dml count` are beside those of quapy, the field's library, on the same flights.

    python benchmarks/count_width.py                   # one setting; nothing is written
    python benchmarks/count_width.py --worlds 4 --held_out 5 10 20 --boxes 20 100 500 --save

Worlds are those of `count_coverage.py`: even and skewed flights of nine species and all else. quapy of a pinned version
is installed into a temporary environment (300 MB) and gets the same answers: adjusted count (ACC) and EM (EMQ), each
with bootstrap intervals. Its Bayesian quantification does not run with the newest numpyro (0.22). Ours is compared with
methods that cover: narrow intervals that miss the truth are no measure.
"""

import json
import tempfile
from pathlib import Path

import numpy as np

from count_coverage import COLUMNS, FLIGHTS, Setting, add_settings, coverage, settings, world
from measure import ROOT, Result, options, run_tool

PACKAGES = ("numpy", "scipy")
PEER = ("quapy==0.2.3",)
COVERS = 0.93  # share of true counts inside, of intervals at 95 %


def peers(cells: list[Setting], worlds: int) -> list[dict[str, tuple[float, float]]]:
    """By setting and method of quapy: coverage and mean width for the commonest species."""
    given = []
    for setting in cells:
        made = [world(setting, seed) for seed in range(worlds)]
        given.append([{name: part.tolist() for name, part in each._asdict().items()} for each in made])
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "worlds.json"), Path(folder, "intervals.json")
        source.write_text(json.dumps(given))
        run_tool(PEER, ROOT / "benchmarks" / "foreign" / "quapy_counts.py", source, target)
        found: list[dict[str, tuple[float, float]]] = json.loads(target.read_text())
    return found


def ratio(width: float, beside: dict[str, tuple[float, float]]) -> float:
    """Our width over that of the narrowest method that covers; NaN where none does."""
    covering = [theirs for share, theirs in beside.values() if share >= COVERS]
    return width / min(covering) if covering else float("nan")


def main() -> None:
    """Print the table, and write it with `--save`."""
    parser = options(__doc__)
    parser.add_argument("--worlds", type=int, default=2, help="of each setting, ten flights in each (default 2)")
    add_settings(parser)
    parser.set_defaults(correlations=[0.05], held_out=[10], mixtures=["even", "skewed"], boxes=[20])
    args = parser.parse_args()
    cells = list(settings(args))
    with Result(__file__, "Width of the intervals of corrected counts, at 95 %", PACKAGES, args) as result:
        result.text(
            f"{args.worlds * FLIGHTS} flights per row, {PEER[0]}. Share of intervals of a flight's commonest species "
            "that hold its true count and, in brackets, their mean width in boxes; last, our width over that of the "
            f"narrowest method of quapy that covers (at least {COVERS} inside)."
        )
        rows, ratios = [], []
        for cell, beside in zip(cells, peers(cells, args.worlds), strict=True):
            own = coverage(cell, args.worlds)
            shown = [(own.commonest, own.width), *beside.values()]
            ratios.append(ratio(own.width, beside))
            last = "none covers" if np.isnan(ratios[-1]) else f"{ratios[-1]:.2f}"
            rows.append([*map(str, cell), *(f"{share:.3f} ({width:.1f})" for share, width in shown), last])
        result.table([*COLUMNS, "dml count", "quapy ACC", "quapy EMQ", "ratio"], rows)
        known = np.array([each for each in ratios if not np.isnan(each)])
        result.text(
            f"quapy has a method that covers in {len(known)} of {len(ratios)} rows; there the mean ratio of widths is "
            f"{known.mean() if len(known) else np.nan:.2f}."
        )


if __name__ == "__main__":
    main()
