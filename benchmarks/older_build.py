r"""The shipped recipes beside those of an older checkout: naming, unseen species and refusal, on the same crops.

    python benchmarks/older_build.py                           # this build alone, short: shows that it runs
    python benchmarks/older_build.py --older OTHER_CHECKOUT --work FOLDER --units 8 --whole --save
    python benchmarks/older_build.py --older OTHER_CHECKOUT --work FOLDER --units 8 --whole --save \
      --table docs/comparisons/softmax_vs_triplet/comparison.csv    # which was fitted on these flights: half the time
    python benchmarks/older_build.py --older OTHER_CHECKOUT --work FOLDER --units 5 --unknown-units 2 --whole \
      --data hit_uav --save

Each build runs `dml compare` on its own configs, both arms for each unit. Units are seeds on simulated flights, which
both builds simulate: their frames must be equal. On HIT-UAV units are splits by flight conditions, with a quarter of
the flights for the threshold of rule C; each class in turn is also left out of training and tested as OOD. The chosen
score is that by which a run refuses; an older build without a choice has the nearest prototype's. Intervals are over
seeds, or over the flights that HIT-UAV's splits share. A folder that is given is kept, and what it holds of finished
runs is not run again.
"""

import hashlib
import json
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dml_lightning.evaluation.evidence import read_evidence
from dml_lightning.files import read_json
from dml_lightning.gallery.answer import answer
from dml_lightning.gallery.gallery import Gallery
from dml_lightning.metrics.bootstrap import Resampled, expanded_interval, group_draws
from dml_lightning.stats.paired import t_interval
from measure import ROOT, Result, options, run_checkout

PACKAGES = ("timm", "lightning")
ARMS = ("softmax", "triplet")
HIT_UAV = ROOT / ".." / "shared" / "data" / "hit_uav"
CLASSES = ("Person", "Car", "Bicycle")
SPLIT = "--data.split_fractions=[0.4,0.12,0.22,0.26]"  # of today's config, for both builds
ACCURACY = "balanced accuracy, nearest prototype"
OOD = {"ood": "OOD AUROC", "clutter": "clutter AUROC"}
COLUMNS = {ACCURACY: "balanced_accuracy_prototype", "novel MAP@R": "novel_map_at_r", "OOD AUROC, nearest": "ood_auroc"}
DRAWS = 2000
SHORT = ["--trainer.max_epochs=1", "--data.batches_per_epoch=10"]
Values = NDArray[np.float64]
Runs = dict[tuple[str, str], dict[str, list[Path]]]  # by kind of test and arm: by build, the run of each unit


# Runs --------------------------------------------------------------------------------------------


def flights(checkouts: Mapping[str, Path], work: Path, whole: bool) -> tuple[dict[str, Path], str]:
    """Simulated flights of each build, and the digest of their frames.

    Raises:
        RuntimeError: If the frames of two builds differ.
    """
    roots = {build: work / f"flights_{build}" for build in checkouts}
    size = ["--flights=24", "--frames=20"] if whole else ["--flights=12", "--frames=6"]
    for build, root in roots.items():
        if not (root / "annotations.json").is_file():
            run_checkout(checkouts[build], "-m", "dml_lightning", "simulate", f"--out={root}", *size)
    digests = {build: digest(root) for build, root in roots.items()}
    if len(set(digests.values())) > 1:
        raise RuntimeError(f"the builds simulate different frames: {digests}.")
    return roots, next(iter(digests.values()))


def digest(root: Path) -> str:
    """Of all frames, by name."""
    found = hashlib.sha256()
    for frame in sorted(path for path in root.rglob("*") if path.suffix in (".tif", ".tiff", ".png")):
        found.update(str(frame.relative_to(root)).encode() + frame.read_bytes())
    return found.hexdigest()[:12]


def compare(checkout: Path, out: Path, unit: int, data: str, overrides: Sequence[str]) -> dict[str, Path]:
    """Fits and tests both arms with one seed; the run of each."""
    configs = checkout / "configs"
    shared = [configs / f"{name}.yaml" for name in ("base", f"data/{data}")]
    if data == "simulated" and (sizes := configs / "data" / "sizes.yaml").is_file():
        shared.append(sizes)
    plan = {
        "name": "both",
        "shared": list(map(str, shared)),
        "arms": {arm: {"configs": [f"{configs}/model/{arm}.yaml"]} for arm in ARMS},
        "primary": "balanced_accuracy_prototype",
        "seeds": [unit],
        "overrides": ["--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu", *overrides],
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "plan.yaml").write_text(json.dumps(plan))
    run_checkout(checkout, "-m", "dml_lightning", "compare", f"--config={out / 'plan.yaml'}", f"--out={out}")
    tests = {arm: list(out.glob(f"both/{arm}/*/metrics/test.json")) for arm in ARMS}
    return {arm: found[0].parents[1] for arm, (*found,) in tests.items()}


def kinds(data: str) -> dict[str, list[str]]:
    """What is tested: the shipped classes, and on HIT-UAV each class in turn as one that nobody has seen."""
    if data == "simulated":
        return {"all": []}
    unknown = {
        f"{name} unknown": [
            f"--data.known=[{','.join(other for other in CLASSES if other != name)}]",
            f"--data.ood_test=[{name}]",
            "--data.classes_per_batch=2",
        ]
        for name in CLASSES
    }
    return {"all": []} | unknown


def tested(args: Namespace, checkouts: Mapping[str, Path], work: Path, roots: Mapping[str, Path]) -> Runs:
    """Runs by kind of test and arm, fitted and tested where they are not yet."""
    found: Runs = {}
    for unit, (build, checkout) in product(range(args.units), checkouts.items()):
        for kind, own in kinds(args.data).items():
            if kind != "all" and unit >= args.unknown_units:
                continue
            words = [f"--data.source.init_args.root={roots[build]}", f"--data.cache_dir={work}/cache_{build}", *own]
            if args.data == "hit_uav":
                words += [f"--data.split_seed={unit}", SPLIT]
            out = work / build.replace(" ", "_") / kind.replace(" ", "_") / f"{unit}"
            runs = compare(checkout, out, unit, args.data, words + ([] if args.whole else SHORT))
            for arm, run in runs.items():
                found.setdefault((kind, arm), {}).setdefault(build, []).append(run)
                print(build, kind, unit, arm, run, flush=True)
    return found


# Numbers -----------------------------------------------------------------------------------------


class Crops(NamedTuple):
    """One set of a run's test crops."""

    flights: NDArray[np.str_]  # (N,)
    labels: NDArray[np.int64]  # (N,)
    named: NDArray[np.bool_]  # (N,) whether the nearest prototype is of the crop's class
    nearest: Values  # (N,) distance to it
    chosen: Values  # (N,) the score by which the run refuses
    refused: NDArray[np.bool_]  # (N,)


def crops_of(run: Path, chooses: bool) -> dict[str, Crops]:
    """Test crops of a run by set; `chooses` is whether its build chooses a score."""
    evidence, gallery = read_evidence(run / "embeddings" / "test.npz"), Gallery.of_run(run)
    rule, found = gallery.default_rule, {}
    for name in ("known", *OOD):
        if len(part := evidence.sets[name]):
            given, labels = answer(gallery, part), part.labels.numpy()
            found[name] = Crops(
                evidence.groups[name],
                labels,
                np.array(evidence.class_names)[labels] == np.array(given.label_prototype),
                given.distance,
                given.score[rule] if chooses else given.distance,
                ~given.known[rule],
            )
    return found


def numbers(run: Path, chooses: bool, flights: NDArray[np.str_], times: Values) -> dict[str, Values]:
    """Numbers of a run's test, each (T,): flight g counts times[t, g] times; NaN where a draw lacks a side."""
    sets = crops_of(run, chooses)
    places = {name: np.searchsorted(flights, part.flights) for name, part in sets.items()}
    known, metrics = sets["known"], read_json(run / "metrics" / "test.json")
    found = {ACCURACY: balanced_accuracy(known, times[:, places["known"]])}
    np.testing.assert_allclose(found[ACCURACY][0], metrics["test/balanced_accuracy_prototype"], atol=1e-6)
    if "test/novel_map_at_r" in metrics:
        found["novel MAP@R"] = np.full(len(times), metrics["test/novel_map_at_r"])
    for name in [each for each in OOD if each in sets]:
        drawn, part = Resampled(times, places["known"], places[name]), sets[name]
        for score in ("nearest", "chosen"):
            sides = getattr(known, score), getattr(part, score)
            found[f"{OOD[name]}, {score}"] = drawn.aurocs(*sides, np.ones((1, len(part.labels)), dtype=bool))[:, 0]
    for name, part in sets.items():
        weights = times[:, places[name]]
        found[f"{name} refused"] = np.divide(weights @ part.refused, weights.sum(axis=1))
    return found


def balanced_accuracy(crops: Crops, weights: Values) -> Values:
    """Mean over classes (T,) of the weighted share that is named right; NaN where a draw lacks a class."""
    members = crops.labels[:, None] == np.unique(crops.labels)  # (N, C)
    return np.divide(weights @ (members & crops.named[:, None]), weights @ members).mean(axis=1)


# Tables ------------------------------------------------------------------------------------------


def rows(runs: Runs, by_flights: bool, table: Path | None = None) -> Iterator[list[str]]:
    """A row for each kind of test, arm and number: both builds and their difference.

    The first of all values is that of the flights as they are; the others are of flights drawn with replacement.
    """
    every = [run for pair in runs.values() for units in pair.values() for run in units]
    flights = np.unique(np.concatenate([part.flights for run in every for part in crops_of(run, False).values()]))
    draws = DRAWS if by_flights else 0
    times = np.concatenate([np.ones((1, len(flights))), group_draws(len(flights), draws, seed=0)])
    found: dict[tuple[str, str, str], dict[str, Values]] = {}
    for (kind, arm), pair in runs.items():
        for build, units in pair.items():
            each = [numbers(run, build == "this build", flights, times) for run in units]
            for name in each[0]:
                found.setdefault((kind, arm, name), {})[build] = np.stack([own[name] for own in each])  # (units, T)
    if table is not None:
        own = pd.read_csv(table).sort_values("seed")
        for arm, (name, column) in product(ARMS, COLUMNS.items()):
            values = own.loc[own["arm"] == arm, column].to_numpy()[: len(runs["all", arm]["older"])]
            found["all", arm, name]["this build"] = values[:, None]
    for arm, score in product(ARMS, ("nearest", "chosen")):
        name = f"{OOD['ood']}, {score}"
        unknown = [found[kind, arm, name] for kind in kinds("hit_uav") if kind != "all" and (kind, arm, name) in found]
        if unknown:
            found["mean of the three", arm, name] = {
                build: np.mean([values[build] for values in unknown], axis=0) for build in unknown[0]
            }
    for about, values in found.items():
        if len(values) == 2:
            values = values | {"difference": values["this build"] - values["older"]}
        builds = ("older", "this build", "difference")
        yield [*about, *(cell(values[build], len(flights)) if build in values else "–" for build in builds)]


def cell(values: Values, flights: int) -> str:
    """The mean over units of values (units, 1 + draws), and its interval: over flights if drawn, else over units."""
    means = values.mean(axis=0)
    if len(means) == 1 and len(values) == 1:
        return f"{means[0]:.3f}"
    low, high = expanded_interval(means[1:], flights) if len(means) > 1 else t_interval(values[:, 0])
    return f"{means[0]:.3f} [{low:.3f}, {high:.3f}]"


def main() -> None:
    """Print the table, and write it with `--save`."""
    parser = options(__doc__)
    parser.add_argument("--older", type=Path, help="another checkout")
    parser.add_argument("--work", type=Path, help="a folder that is kept (default: a temporary one)")
    parser.add_argument("--table", type=Path, help="comparison.csv of this build on these flights, instead of runs")
    parser.add_argument("--data", choices=["simulated", "hit_uav"], default="simulated")
    parser.add_argument("--units", type=int, default=1, help="seeds or splits (default 1)")
    parser.add_argument("--unknown-units", type=int, default=1, help="splits with each class left out (default 1)")
    parser.add_argument("--whole", action="store_true", help="the shipped number of steps; else ten")
    args = parser.parse_args()
    checkouts = {"older": args.older.resolve()} if args.older else {}
    checkouts["this build"] = ROOT
    with Result(__file__, f"Shipped recipes beside an older build: {args.data}", PACKAGES, args) as result:
        result.path = result.path.with_stem(f"older_build_{args.data}")
        with tempfile.TemporaryDirectory() as temporary:
            work = (args.work or Path(temporary)).resolve()
            roots = dict.fromkeys(checkouts, HIT_UAV.resolve())
            if args.data == "simulated":
                roots, frames = flights(checkouts, work, args.whole)
                result.text(f"Frames of both builds: sha256 {frames}.")
            if args.table:
                del checkouts["this build"]
                result.text(f"Numbers of this build are of `{args.table}`.")
            by_flights = args.data == "hit_uav"
            found = list(rows(tested(args, checkouts, work, roots), by_flights, args.table))
        over = (
            f"splits, with 95 % intervals over flights, drawn {DRAWS:,} times with replacement for all splits at once"
        )
        result.text(
            f"Means over {args.units} {over if by_flights else 'seeds, with Student intervals at 95 % over seeds'}; "
            "differences are paired. The older build has no choice of a score: by its nearest prototype."
        )
        if by_flights:
            result.text(f"Classes that are left out of training in turn: {args.unknown_units} splits each.")
        result.table(["test", "arm", "number", "older", "this build", "difference"], found, texts=3)


if __name__ == "__main__":
    main()
