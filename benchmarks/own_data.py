"""The quick start's command on own data: naming beside raw pixels, and refusal, on test flights of HIT-UAV.

    python benchmarks/own_data.py                        # one short epoch: shows that it runs; nothing is written
    python benchmarks/own_data.py --whole --save         # five splits; three minutes of one core each

HIT-UAV's 290 validation frames are written as a newcomer would have them: a folder of frames with `boxes.csv`, whose
flights are the four conditions in a file's name. The command is read from `docs/quickstart.md` and run as it stands
there, once for each split of the flights, with the split's number as seed. Balanced accuracy is over the classes with
100 or more training crops, by nearest prototype for both; refusal is by the run's default rule. Nothing was chosen by
these numbers.
"""

import os
import re
import shlex
import shutil
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import chdir
from pathlib import Path
from typing import NamedTuple

from dml_lightning.cli import main as dml
from dml_lightning.data.sources import CocoJson
from dml_lightning.evaluation.evidence import Evidence, read_evidence
from dml_lightning.evaluation.naming import names_of_known
from dml_lightning.gallery.answer import answer
from dml_lightning.gallery.gallery import Gallery
from dml_lightning.metrics.classification import balanced_accuracy
from measure import ROOT, Result, Stopwatch, options

PACKAGES = ("timm", "lightning")
FRAMES = ROOT / ".." / "shared" / "data" / "hit_uav"
FLIGHT = r"^(\d+_\d+_\d+_\d+)"  # day or night, altitude, camera angle, weather
ENOUGH = 100  # training crops of a class that is counted; a gallery keeps 200 of each
SHORT = ["--trainer.max_epochs=1", "--data.batches_per_epoch=5"]


class Measured(NamedTuple):
    """What one split gives."""

    accuracy: float
    raw: float
    background: float  # share refused
    known: float  # share refused
    seconds: float  # of the processor, for the fit


def command() -> list[str]:
    """The arguments of the first fit of the quick start."""
    page = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")
    line = next(line for line in re.findall(r"^dml (.*)$", page, flags=re.MULTILINE) if line.startswith("fit "))
    return shlex.split(line)


def write_table(frames: Path, out: Path) -> None:
    """Writes frames and `boxes.csv` as a newcomer has them."""
    boxes = CocoJson(frames, annotations="val.json", group_by=FLIGHT).read().table
    out.mkdir()
    for frame in boxes["frame"].unique():
        shutil.copy(frame, out)
    named = boxes.assign(frame=boxes["frame"].map(os.path.basename)).rename(columns={"group": "flight"})
    named.to_csv(out / "boxes.csv", index=False)


def accuracy(evidence: Evidence) -> float:
    """Balanced accuracy over the classes with enough training crops, by nearest prototype."""
    counts = evidence.sets["reference"].labels.bincount(minlength=evidence.num_classes)
    labels, predicted = evidence.sets["known"].labels, names_of_known(evidence, "prototype")
    counted = counts[labels] >= ENOUGH
    return balanced_accuracy(labels[counted], predicted[counted])


def measured(fit: list[str], seed: int) -> Measured:
    """Fits and tests by the command, and tests raw pixels on the same split."""
    split = [f"--seed_everything={seed}", f"--data.split_seed={seed}"]
    with Stopwatch() as watch:
        run = dml([*fit, *split])
    dml(["test", "--run", str(run)])
    evidence, gallery = read_evidence(run / "embeddings" / "test.npz"), Gallery.of_run(run)
    raw = [word.replace("model/triplet", "model/raw_pixels") for word in fit[1:]]
    floor = dml(["test", *raw, *split, "--name=raw_pixels", "--ckpt_path=none"])
    known, background = (
        1 - float(answer(gallery, evidence.sets[name]).known[gallery.default_rule].mean())
        for name in ("known", "clutter")
    )
    own = accuracy(evidence), accuracy(read_evidence(floor / "embeddings" / "test.npz"))
    return Measured(*own, background, known, watch.cpu)


def rows(fit: list[str], seeds: Sequence[int]) -> Iterator[list[object]]:
    """A row for each split as it is measured, then their mean."""
    splits = list[Measured]()
    for seed in seeds:
        splits.append(measured(fit, seed))
        yield row(seed, splits[-1])
    yield row("mean", Measured(*map(statistics.fmean, zip(*splits, strict=True))))


def row(name: object, values: Measured) -> list[object]:
    return [name, *(f"{value:.3f}" for value in values[:-1]), f"{values.seconds:.0f}"]


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--whole", action="store_true", help="the whole command on five splits; else a short epoch")
    args = parser.parse_args()
    title = "The quick start's command on HIT-UAV as a table of one's own"
    with Result(__file__, title, PACKAGES, args) as result:
        if not FRAMES.is_dir():
            print(f"Skipped: there is no {FRAMES}.")
            raise SystemExit(0)  # which saves nothing
        fit = command() + ([] if args.whole else SHORT)
        with tempfile.TemporaryDirectory() as work, chdir(work):
            write_table(FRAMES, Path("MY_FRAMES"))
            result.text(f"`dml {shlex.join(fit)}`")
            heads = ["split", "balanced accuracy", "raw pixels", "background refused", "known refused", "fit, CPU s"]
            result.table(heads, rows(fit, range(5 if args.whole else 1)))


if __name__ == "__main__":
    main()
