"""Every OOD detector on every arm of a comparison, with intervals over flights.

    python benchmarks/detectors_by_arm.py                     # two short runs on simulated flights; nothing is written
    python benchmarks/detectors_by_arm.py runs/softmax_vs_triplet runs/hit_uav --save

Embeddings are those of the tested runs of finished comparisons; on these nothing is trained. A cell is the OOD AUROC
of the arm's first run with its 95 % bootstrap interval over flights (or, of fewer than five, the range of the values
within them), and behind it the mean over all seeds.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from dml_lightning.evaluation.detectors import detector_table
from dml_lightning.evaluation.evidence import read_evidence
from dml_lightning.files import read_json
from dml_lightning.stats.estimates import bracketed
from measure import Result, options
from short_runs import fitted_runs

PACKAGES = ("torch", "numpy", "scikit-learn")
Tables = dict[str, list[pd.DataFrame]]  # the detectors of each run, by arm


def runs_of(comparison: Path) -> dict[str, list[Path]]:
    """The tested runs of a finished comparison, by arm.

    Raises:
        ValueError: If there is no `comparison.json`.
    """
    content = read_json(comparison / "comparison.json")
    if not content:
        raise ValueError(f"{comparison} has no comparison.json; give the folder of a finished dml compare.")
    runs: dict[str, list[Path]] = {}
    for run in content["runs"]:
        runs.setdefault(run["arm"], []).append(Path(run["run"]))
    return runs


def tables(runs: dict[str, list[Path]]) -> Tables:
    """The detector table of each run."""
    return {
        arm: [detector_table(read_evidence(run / "embeddings" / "test.npz")) for run in own]
        for arm, own in runs.items()
    }


def cell(runs: list[pd.DataFrame], detector: str) -> str:
    """AUROC of one detector on one arm."""
    if detector not in runs[0].index:
        return "-"
    first = runs[0].loc[detector]
    mean = sum(run.loc[detector, "auroc"] for run in runs) / len(runs)
    own = bracketed(first["auroc"], first["auroc_low"], first["auroc_high"], first["auroc_spread"])
    return f"{own}, {mean:.3f}"


def add(result: Result, name: str, found: Tables) -> None:
    """One section: a row per detector, a column per arm."""
    seeds, sizes = max(len(own) for own in found.values()), next(iter(found.values()))[0].iloc[0]
    result.text(f"## {name}: seeds per arm {seeds}, flights resampled {sizes['groups']:.0f}")
    detectors = dict.fromkeys(detector for own in found.values() for detector in own[0].index)
    result.table(("detector", *found), ((each, *(cell(own, each) for own in found.values())) for each in detectors))


def sources(comparisons: list[Path], work: Path) -> Iterator[tuple[str, dict[str, list[Path]]]]:
    """Name and runs of each comparison; short runs where none is given."""
    if not comparisons:
        yield "two short epochs on simulated flights", fitted_runs(work)
    for folder in comparisons:
        yield folder.name, runs_of(folder)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("comparisons", nargs="*", type=Path, help="folders of finished comparisons")
    args = parser.parse_args()
    title = "OOD AUROC of every detector on every arm"
    with Result(__file__, title, PACKAGES, args) as result, tempfile.TemporaryDirectory() as work:
        result.text(
            "A cell: first seed with its 95 % bootstrap interval over flights, or in round brackets the range over "
            "fewer than five, mean over seeds. Detectors on logits need a classifier."
        )
        for name, runs in sources(args.comparisons, Path(work)):
            add(result, name, tables(runs))


if __name__ == "__main__":
    main()
