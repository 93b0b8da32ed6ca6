"""What a few crops of a new species give: accuracy on it, and what they change for the known ones.

    python benchmarks/enrolment.py                          # two short runs on simulated flights; nothing is written
    python benchmarks/enrolment.py RUN RUN --draws 50 --save

RUN is the folder of a tested run, one per arm; on these nothing is trained. The novel classes of the test split are
enrolled from k crops each, drawn anew each time from flights other than those that are then judged. Judged are held-out
crops of the novel classes, of the known classes, and of no species at all.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
import yaml
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dml_lightning.evaluation.evidence import Evidence, read_evidence
from dml_lightning.figures.palette import BLUE, ORANGE
from dml_lightning.gallery.answer import answer
from dml_lightning.gallery.gallery import Gallery
from dml_lightning.gallery.summary import EnrolledSpecies
from dml_lightning.metrics.bootstrap import percentile_interval
from dml_lightning.metrics.classification import balanced_accuracy
from dml_lightning.types import Embeddings
from measure import Result, options
from short_runs import fitted_runs

PACKAGES = ("torch", "numpy")
SIZES = (1, 5, 10, 20)
RADII = ("shrunk", "maximum")
COLOURS = {"shrunk": BLUE, "maximum": ORANGE}


@dataclass(frozen=True)
class Bench:
    """One run with the embeddings that judge it."""

    arm: str
    gallery: Gallery
    evidence: Evidence


def read_run(run: Path) -> Bench:
    """A tested run, as it was before anything was enrolled."""
    recipe = yaml.safe_load((run / "recipe.fit.yaml").read_text())
    arm = recipe["model"]["class_path"].rsplit(".", 1)[-1].removesuffix("Module").lower()
    gallery = replace(Gallery.load(run / "gallery"), enrolled=())
    return Bench(arm, gallery, read_evidence(run / "embeddings" / "test.npz"))


def draws(bench: Bench, k: int, number: int) -> Iterator[tuple[dict[int, NDArray[np.int64]], NDArray[np.bool_]]]:
    """Rows of the k crops of each novel class, and which novel rows are of other flights than all of those.

    Half of the flights that show a novel class serve the crops, the others the test, drawn anew.
    """
    labels = bench.evidence.sets["novel"].labels.numpy()
    flights = bench.evidence.groups["novel"]
    for seed in range(number):
        rng = np.random.default_rng([k, seed])
        names = rng.permutation(np.unique(flights))
        support = np.isin(flights, names[: max(1, len(names) // 2)])
        rows = {c: np.flatnonzero(support & (labels == c)) for c in np.unique(labels).tolist()}
        if all(len(found) >= k for found in rows.values()):
            yield {c: rng.choice(found, k, replace=False) for c, found in rows.items()}, ~support


def with_species(bench: Bench, crops: dict[int, NDArray[np.int64]], radius: str) -> Gallery:
    """The gallery with these crops enrolled."""
    vectors = bench.evidence.sets["novel"].vectors.numpy()
    enrolled = []
    for label, rows in crops.items():
        own = vectors[rows]
        size = bench.gallery.prior.radius(own)
        if radius == "maximum":
            size = float(np.linalg.norm(own - own.mean(axis=0), axis=1).max())
        enrolled.append(EnrolledSpecies(bench.evidence.class_names[label], own, size))
    return replace(bench.gallery, enrolled=tuple(enrolled))


def judge(bench: Bench, gallery: Gallery, fresh: NDArray[np.bool_], rule: str) -> dict[str, float]:
    """Numbers of one draw; accuracies are means over classes."""
    names, sets = np.array(bench.evidence.class_names), bench.evidence.sets
    queries = subset(sets["novel"], fresh)
    truth = names[queries.labels.numpy()]
    new, known, ood = (answer(gallery, each) for each in (queries, sets["known"], sets["ood"]))
    numbers = sets["known"].labels.numpy()
    place = {name: number for number, name in enumerate(gallery.names)}
    own = np.array([place[label] for label in known.label])
    accepted = known.known[rule]
    named = np.array(new.label) == truth
    return {
        "named": class_mean(named, truth),
        "accepted": class_mean(new.known[rule], truth),
        "found": class_mean(named & new.known[rule], truth),
        "known accuracy": balanced_accuracy(numbers, own),
        "known refused": float((~accepted).mean()),
        "known lost": float((own >= bench.evidence.num_classes).mean()),
        "OOD accepted": float(ood.known[rule].mean()),
    }


def class_mean(hits: NDArray[np.bool_], truth: NDArray[np.str_]) -> float:
    return float(np.mean([hits[truth == name].mean() for name in np.unique(truth)]))


def subset(part: Embeddings, rows: NDArray[np.bool_]) -> Embeddings:
    return part.at(torch.from_numpy(rows))


def measure(bench: Bench, number: int) -> pd.DataFrame:
    """A row per draw, k = 0 being the run as it is."""
    rule = bench.gallery.default_rule
    rows = []
    for k in SIZES:
        for crops, fresh in draws(bench, k, number):
            before = judge(bench, bench.gallery, fresh, rule)
            rows.append({"k": 0, "radius": "none", **before, "known change": 0.0})
            for radius in RADII:
                after = judge(bench, with_species(bench, crops, radius), fresh, rule)
                change = after["known accuracy"] - before["known accuracy"]
                rows.append({"k": k, "radius": radius, **after, "known change": change})
    return pd.DataFrame(rows).assign(arm=bench.arm)


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean and 95 % interval over draws of every number."""
    columns = [name for name in rows if name not in ("arm", "k", "radius")]
    table = []
    for (arm, k, radius), part in rows.groupby(["arm", "k", "radius"], sort=False):
        cells = {}
        for name in columns:
            low, high = percentile_interval(part[name])
            cells[name] = f"{part[name].mean():.3f} ({low:.3f} to {high:.3f})"
        table.append({"arm": arm, "k": k, "radius": radius, "draws": len(part), **cells})
    return pd.DataFrame(table).sort_values(["arm", "k", "radius"], ascending=[False, True, False])


def picture(rows: pd.DataFrame) -> Figure:
    """Three panels per arm against k: the new species, the known ones, what is neither."""
    arms = list(dict.fromkeys(rows["arm"]))
    figure = Figure(figsize=(11, 3.4 * len(arms)), layout="constrained")
    axes = figure.subplots(len(arms), 3, squeeze=False, sharey="col")
    panels = (
        (("named", "found"), "new species"),
        (("known accuracy", "known refused"), "known species"),
        (("OOD accepted",), "neither"),
    )
    for line, arm in zip(axes, arms, strict=True):
        for axis, (names, title) in zip(line, panels, strict=True):
            for name, style in zip(names, ("o-", "s--"), strict=False):
                for radius in RADII:
                    curve(axis, rows[rows["arm"] == arm], name, radius, style)
            axis.set(title=f"{arm}: {title}", xlabel="crops enrolled, k", ylim=(-0.03, 1.03))
            axis.set_xticks([0, *SIZES])
            axis.grid(color="#e4e7eb")
            axis.legend(fontsize=7, loc="best")
    return figure


def curve(axis: mpl.axes.Axes, rows: pd.DataFrame, name: str, radius: str, style: str) -> None:
    part = rows[rows["radius"].isin([radius, "none"])]
    grouped = part.groupby("k")[name]
    mean = grouped.mean()
    low, high = grouped.quantile(0.025), grouped.quantile(0.975)
    shift = 0.15 if radius == "maximum" else -0.15
    axis.errorbar(
        mean.index + shift,
        mean,
        [(mean - low).clip(0), (high - mean).clip(0)],  # a mean may lie beyond a quantile
        fmt=style,
        color=COLOURS[radius],
        capsize=2,
        markersize=4,
        label=f"{name}, {radius} radius",
    )


NOTES = """- named: crops of a new species that get its name. The softmax arm's classifier has no weights for it, so
  its own answer is 0 at k = 0 whatever the crop; the other rows name by the prototype of its penultimate embedding.
- accepted: crops of a new species that are not refused; found: named and not refused.
- known accuracy: balanced, named by the arm's own rule; known change: against k = 0 of the same draw; known lost:
  known crops that get a new species' name; known refused and OOD accepted: by the arm's default rule.
- maximum: the radius is the largest of the k distances to their mean; shrunk: towards the known classes' spread."""


def recipe(benches: list[Bench]) -> str:
    """What is judged, and by which rules."""
    first = benches[0].evidence
    novel = [first.class_names[i] for i in first.sets["novel"].labels.unique().tolist()]
    sizes = ", ".join(f"{len(first.sets[name])} {name}" for name in ("known", "novel", "ood"))
    rules = ", ".join(f"{b.arm}: {b.gallery.threshold(b.gallery.default_rule).name}" for b in benches)
    flights = {name: len(np.unique(first.groups[name])) for name in ("known", "novel")}
    return (
        f"Test crops: {sizes}; {flights['known']} flights with known species. New species: {', '.join(novel)}, in "
        f"{flights['novel']} flights. Rules: {rules}."
    )


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("runs", nargs="*", type=Path, help="folders of tested runs, one per arm")
    parser.add_argument("--draws", type=int, default=10)
    args = parser.parse_args()
    title = "Species enrolled from a few crops"
    with Result(__file__, title, PACKAGES, args) as result, tempfile.TemporaryDirectory() as work:
        runs = args.runs or [run for own in fitted_runs(Path(work)).values() for run in own]
        benches = [read_run(run) for run in runs]
        rows = pd.concat([measure(bench, args.draws) for bench in benches], ignore_index=True)
        result.text(
            recipe(benches),
            f"Each of {args.draws} draws takes the crops from half of the flights that show a new species and tests on "
            "the other half; all new species are enrolled together. Means over draws, in brackets the middle 95 % of "
            "draws. k = 0 is the run as it is.",
            NOTES,
        )
        table = summary(rows)
        result.table(list(map(str, table)), table.itertuples(index=False), texts=3)
        result.figure(picture(rows))


if __name__ == "__main__":
    main()
