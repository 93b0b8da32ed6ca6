"""Every OOD detector on every arm of a comparison, with intervals over flights.

python benchmarks/detectors_by_arm.py runs/softmax_vs_triplet runs/hit_uav --out benchmarks/results/detectors_by_arm.md

Embeddings are those of the tested runs; nothing is trained. A cell is the OOD AUROC of the arm's first run with its
95 % bootstrap interval over flights, and behind it the mean over all seeds.
"""

import argparse
import platform
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from dml_lightning.evaluation.detectors import detector_table
from dml_lightning.evaluation.evidence import read_evidence
from dml_lightning.files import read_json, write_text


def tables(folder: Path) -> dict[str, list[pd.DataFrame]]:
    """The detector table of each run of a comparison, by arm."""
    found: dict[str, list[pd.DataFrame]] = {}
    for run in read_json(folder / "comparison.json")["runs"]:
        evidence = read_evidence(Path(run["run"], "embeddings", "test.npz"))
        found.setdefault(run["arm"], []).append(detector_table(evidence))
    return found


def cell(runs: list[pd.DataFrame], detector: str) -> str:
    """AUROC of one detector on one arm."""
    if detector not in runs[0].index:
        return "-"
    first = runs[0].loc[detector]
    mean = sum(run.loc[detector, "auroc"] for run in runs) / len(runs)
    return f"{first['auroc']:.3f} [{first['auroc_low']:.3f}, {first['auroc_high']:.3f}], {mean:.3f}"


def lines(folder: Path) -> Iterator[str]:
    """One table in Markdown."""
    found = tables(folder)
    arms = list(found)
    runs = max(len(own) for own in found.values())
    sizes = next(iter(found.values()))[0].iloc[0]
    yield f"\n## {folder.name}: {runs} seeds per arm, {sizes['groups']:.0f} flights resampled\n\n"
    yield "| detector | " + " | ".join(arms) + " |\n| --- |" + " ---: |" * len(arms) + "\n"
    detectors = dict.fromkeys(name for own in found.values() for name in own[0].index)
    for detector in detectors:
        yield f"| {detector} | " + " | ".join(cell(found[arm], detector) for arm in arms) + " |\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("comparisons", nargs="+", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    head = (
        "# OOD AUROC of every detector on every arm\n\n"
        f"`python benchmarks/detectors_by_arm.py {' '.join(map(str, arguments.comparisons))}`, "
        f"torch {version('torch')}, Python {platform.python_version()}.\n\n"
        "A cell: first seed with its 95 % bootstrap interval over flights, mean over seeds. Detectors on logits need a "
        "classifier.\n"
    )
    text = head + "".join(line for folder in arguments.comparisons for line in lines(folder))
    print(text)
    if arguments.out:
        write_text(arguments.out, text)


if __name__ == "__main__":
    main()
