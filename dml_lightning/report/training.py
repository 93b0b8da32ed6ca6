"""Sections on training: curves, margins and states."""

from dml_lightning.evaluation.retrieval import selection
from dml_lightning.report.figures import curves, training_figure
from dml_lightning.report.inputs import ReportInput, RunResult
from dml_lightning.report.numbers import POINTS
from dml_lightning.report.parts import Section
from dml_lightning.report.style import Json
from dml_lightning.runs.folder import SELECTION
from dml_lightning.stats.results import plain_name
from dml_lightning.stats.tables import Table
from dml_lightning.theory import is_feasible_margin, max_feasible_margin

STATE_TEXTS = ("learning", "satisfied", "stalled", "noisy", "collapsed", "infeasible")


def training_section(given: ReportInput, lines: dict[str, Json]) -> Section | None:
    """The section with active triplets and distance ratio over the steps of every run; None without such curves.

    Args:
        given: Runs by arm.
        lines: Plotly line of each arm.
    """
    drawn = {
        key: [curve for arm, runs in given.arms.items() for run in runs for curve in curves(arm, run.history, key)]
        for key in ("train/active_triplet_fraction", "val/inter_intra_ratio")
    }
    titles = {
        "train/active_triplet_fraction": ("Active triplets of the batch", "share of valid triplets"),
        "val/inter_intra_ratio": ("Distance ratio on validation", "inter / intra"),
    }
    figures = [training_figure(*titles[key], each, lines, rangemode="tozero") for key, each in drawn.items() if each]
    if not figures:
        return None
    text = (
        "Every arm is counted with the same margin, whatever its loss. Fewer active triplets and a larger ratio are "
        "better."
    )
    text += chosen_text(given)
    if any(len(curve.steps) > POINTS for each in drawn.values() for curve in each):
        text += f" Of longer curves {POINTS} values are drawn, evenly from the first to the last."
    return Section("training", "Training", [text], figures=figures)


def chosen_text(given: ReportInput) -> str:
    """Sentences on the validation numbers by which the shown runs chose their checkpoints; empty if none is known."""
    arms: dict[str, list[str]] = {}
    for arm, run in given.shown.items():
        if (number := chosen_by(run)) is not None:
            arms.setdefault(number, []).append(arm)
    return "".join(
        f" Checkpoints of {', '.join(names)} were chosen by {number} on validation." for number, names in arms.items()
    )


def chosen_by(run: RunResult) -> str | None:
    """Validation number by which a run chose its checkpoint; None for one that was not fitted, or without recipe."""
    callbacks = (run.recipe.get("trainer") or {}).get("callbacks") or []
    named = [each for each in callbacks if isinstance(each, dict)]
    best = [each for each in named if str(each.get("class_path")).endswith(".BestCheckpoint")]
    if not run.trained or not best:
        return None
    monitor, validation = str((best[0].get("init_args") or {}).get("monitor", SELECTION)), run.validation
    if monitor != SELECTION or validation is None:
        return plain_name(monitor.removeprefix("val/"))
    labels, groups = validation.sets["known"].labels.numpy(), validation.groups["known"]
    return plain_name(selection(labels, groups, validation.other_groups).metric)


def margins_section(given: ReportInput) -> Section | None:
    """The section on the bound of the margin and the states of training; None if no run has either."""
    rows = [row for arm, run in given.shown.items() if (row := _margin_row(arm, run))]
    states = [row for arm, run in given.shown.items() if (row := _state_row(arm, run))]
    tables = []
    if rows:
        tables.append(
            Table(
                "Margin and its bound",
                ["arm", "margin", "distance", "classes", "dimensions", "bound", "feasible"],
                rows,
                "Bound: the largest margin that triplets of unit vectors can satisfy (Rankin).",
            )
        )
    if states:
        tables.append(
            Table(
                "Share of looks at training in each state",
                ["arm", "looks", *STATE_TEXTS, "at the end"],
                states,
                decimals=2,
            )
        )
    return Section("margins", "Margin and training states", tables=tables) if tables else None


def _margin_row(arm: str, run: RunResult) -> list[str | float | int] | None:
    """Margin, setting and bound of a fitted triplet arm; None for others."""
    model = run.recipe.get("model") or {}
    settings = model.get("init_args") or {}
    loss = (settings.get("loss") or {}).get("init_args") or {}
    if not run.trained or "Triplet" not in str(model.get("class_path")) or "margin" not in loss:
        return None
    encoder = (settings.get("encoder") or {}).get("init_args") or settings.get("encoder") or {}
    squared = loss.get("distance") == "squared_euclidean"
    data = run.recipe.get("data") or {}
    classes = run.evidence.num_classes * (data.get("turned_classes") or 1) + bool(data.get("ood_train"))
    dim = run.evidence.sets["known"].vectors.shape[1]
    margin = float(loss["margin"])
    start: list[str | float | int] = [arm, margin, "squared" if squared else "Euclidean", classes, dim]
    if not encoder.get("normalize", True):
        return [*start, "none", "vectors have no fixed length"]
    feasible = is_feasible_margin(margin, classes, dim, squared)
    return [*start, max_feasible_margin(classes, dim, squared), "yes" if feasible else "no"]


def _state_row(arm: str, run: RunResult) -> list[str | float | int] | None:
    """Number of looks, share of each state and last state of a run; None if no state was logged."""
    keys = [f"train/state_{state}" for state in STATE_TEXTS]
    if not all(key in run.history for key in keys):
        return None
    looks = run.history[keys].dropna()
    if not len(looks):
        return None
    shares = [float(looks[key].mean()) for key in keys]
    return [arm, len(looks), *shares, STATE_TEXTS[int(looks.iloc[-1].to_numpy(float).argmax())]]
