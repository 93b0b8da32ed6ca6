"""The shipped recipes beside those of an older checkout: naming, unseen species and refusal, on the same crops.

    python benchmarks/older_build.py                           # this build alone, short: shows that it runs
    python benchmarks/older_build.py --older OTHER_CHECKOUT --work FOLDER --units 8 --whole --save
    python benchmarks/older_build.py --older OTHER_CHECKOUT --work FOLDER --units 5 --whole --data hit_uav

Each build runs `dml compare` on its own configs, both arms for each unit. Units are seeds on simulated flights, which
both builds simulate: their frames must be equal. On HIT-UAV units are splits by flight conditions, with a quarter of
the flights for the threshold of rule C; each class in turn is also left out of training and tested as OOD. The chosen
score is that by which a run refuses; an older build without a choice has the nearest prototype's. A folder that is
given is kept, and what it holds of finished runs is not run again.
"""

import hashlib
import json
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from dml_lightning.evaluation.evidence import read_evidence
from dml_lightning.files import read_json
from dml_lightning.gallery.answer import answer
from dml_lightning.gallery.gallery import Gallery
from dml_lightning.metrics.ood import auroc
from dml_lightning.stats.paired import t_interval
from measure import ROOT, Result, options, run_checkout

PACKAGES = ("timm", "lightning")
ARMS = ("softmax", "triplet")
HIT_UAV = ROOT / ".." / "shared" / "data" / "hit_uav"
CLASSES = ("Person", "Car", "Bicycle")
SPLIT = "--data.split_fractions=[0.4,0.12,0.22,0.26]"  # of today's config, for both builds
NUMBERS = {
    "balanced_accuracy_prototype": "balanced accuracy, nearest prototype",
    "novel_map_at_r": "novel MAP@R",
    "ood_auroc": "OOD AUROC, nearest prototype",
    "chosen": "OOD AUROC, chosen score",
}
SHORT = ["--trainer.max_epochs=1", "--data.batches_per_epoch=10"]
Numbers = dict[str, float]
Pair = dict[str, list[Numbers]]  # by build, the numbers of each unit
Tests = dict[tuple[str, str], Pair]  # by kind of test and arm


# Runs --------------------------------------------------------------------------------------------


def flights(checkouts: Mapping[str, Path], work: Path, whole: bool) -> tuple[dict[str, Path], str]:
    """Simulated flights of each build, and the digest of their frames.

    Raises:
        RuntimeError: If the frames of two builds differ.
    """
    roots = {build: work / f"flights_{build}" for build in checkouts}
    size = [] if whole else ["--flights=12", "--frames=6"]
    for build, root in roots.items():
        if not (root / "annotations.json").is_file():
            run_checkout(checkouts[build], "-m", "dml_lightning", "simulate", f"--out={root}", "--frames=20", *size)
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


def numbers(run: Path, chosen: bool) -> Numbers:
    """What the tables show of a run's test; `chosen` is whether its build chooses a score."""
    metrics = read_json(run / "metrics" / "test.json")
    found = {name: float(metrics.get(f"test/{name}", np.nan)) for name in NUMBERS}
    if not chosen:
        return found | {"chosen": found["ood_auroc"]}
    evidence, gallery = read_evidence(run / "embeddings" / "test.npz"), Gallery.of_run(run)
    rule = gallery.default_rule
    sets = {name: part for name, part in evidence.sets.items() if name in ("known", "ood", "clutter") and len(part)}
    answers = {name: answer(gallery, part) for name, part in sets.items()}
    scores = {name: each.score[rule] for name, each in answers.items()}
    refused = {f"{name} refused": 1 - float(each.known[rule].mean()) for name, each in answers.items()}
    found["chosen"] = auroc(scores["known"], scores["ood"])
    if "clutter" in scores:
        found["clutter AUROC"] = auroc(scores["known"], scores["clutter"])
    return found | refused


# Tables ------------------------------------------------------------------------------------------


def difference(older: Sequence[float], newer: Sequence[float]) -> str:
    """Mean paired difference, with its interval from two units on."""
    each = np.subtract(newer, older)
    if len(each) < 2:
        return f"{each.mean():+.3f}"
    low, high = t_interval(each)
    return f"{each.mean():+.3f} [{low:+.3f}, {high:+.3f}]"


def mean(values: Sequence[float]) -> str:
    """The mean, or a dash where a build has no such number."""
    return f"{np.mean(values):.3f}" if values and not np.isnan(values).any() else "–"


def rows(found: Tests) -> Iterator[list[object]]:
    """A row for each kind of test, arm and number."""
    for (kind, arm), pair in found.items():
        for name in pair["this build"][0]:
            newer = [unit[name] for unit in pair["this build"]]
            if np.isnan(newer).all():
                continue
            older = [unit.get(name, np.nan) for unit in pair.get("older", [])]
            means = [mean(values) for values in (older, newer)]
            paired = difference(older, newer) if means[0] != "–" else "–"
            yield [kind, arm, NUMBERS.get(name, name), *means, paired]


def measured(args: Namespace, checkouts: Mapping[str, Path], work: Path, roots: Mapping[str, Path]) -> Tests:
    """Numbers by kind of test and arm."""
    found: Tests = {}
    for build, checkout in checkouts.items():
        for kind, own in kinds(args.data).items():
            for unit in range(args.units):
                words = [f"--data.source.init_args.root={roots[build]}", f"--data.cache_dir={work}/cache_{build}", *own]
                if args.data == "hit_uav":
                    words += [f"--data.split_seed={unit}", SPLIT]
                out = work / build.replace(" ", "_") / kind.replace(" ", "_") / f"{unit}"
                runs = compare(checkout, out, unit, args.data, words + ([] if args.whole else SHORT))
                for arm, run in runs.items():
                    pair = found.setdefault((kind, arm), {})
                    pair.setdefault(build, []).append(numbers(run, chosen=build == "this build"))
                    print(build, kind, unit, arm, pair[build][-1], flush=True)
    return found


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


def main() -> None:
    """Print the table, and write it with `--save`."""
    parser = options(__doc__)
    parser.add_argument("--older", type=Path, help="another checkout")
    parser.add_argument("--work", type=Path, help="a folder that is kept (default: a temporary one)")
    parser.add_argument("--data", choices=["simulated", "hit_uav"], default="simulated")
    parser.add_argument("--units", type=int, default=1, help="seeds or splits (default 1)")
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
            found = measured(args, checkouts, work, roots)
        units = "seeds" if args.data == "simulated" else "splits"
        result.text(f"Means over {args.units} {units}; paired difference with Student's interval at 95 % over {units}.")
        result.table(["test", "arm", "number", "older", "this build", "difference"], rows(found), texts=3)


if __name__ == "__main__":
    main()
