"""How training went: its curves, its margin and its states."""

from dml_lightning.report.figures import curves, training_figure
from dml_lightning.report.inputs import ReportInput, RunResult
from dml_lightning.report.numbers import POINTS
from dml_lightning.report.parts import Section
from dml_lightning.report.style import Json
from dml_lightning.stats.tables import Table
from dml_lightning.theory import is_feasible_margin, max_feasible_margin

STATE_TEXTS = ("learning", "satisfied", "stalled", "noisy", "collapsed", "infeasible")


def training_section(given: ReportInput, lines: dict[str, Json]) -> Section | None:
    """Active triplets and distance ratio over the steps of every run; None if nothing was fitted."""
    drawn = {
        key: [curve for arm, runs in given.arms.items() for run in runs for curve in curves(arm, run.history, key)]
        for key in ("train/active_triplet_fraction", "val/inter_intra_ratio")
    }
    titles = {
        "train/active_triplet_fraction": ("Active triplets of the batch", "share of valid triplets"),
        "val/inter_intra_ratio": ("Distance ratio on validation", "inter / intra"),
    }
    figures = [training_figure(*titles[key], found, lines, rangemode="tozero") for key, found in drawn.items() if found]
    if not figures:
        return None
    said = (
        "Every arm is counted with the same margin, whatever its loss. Fewer active triplets and a larger ratio are "
        "better."
    )
    if any(len(curve.steps) > POINTS for found in drawn.values() for curve in found):
        said += f" Of longer curves {POINTS} values are drawn, evenly from the first to the last."
    return Section("training", "Training", [said], figures=figures)


def margins_section(given: ReportInput) -> Section | None:
    """Bound on the margin and the states that training went through, of arms with a margin."""
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
    model = run.recipe.get("model") or {}
    settings = model.get("init_args") or {}
    loss = (settings.get("loss") or {}).get("init_args") or {}
    if not run.trained or "Triplet" not in str(model.get("class_path")) or "margin" not in loss:
        return None
    encoder = (settings.get("encoder") or {}).get("init_args") or settings.get("encoder") or {}
    squared = loss.get("distance") == "squared_euclidean"
    classes, dim = run.evidence.num_classes, run.evidence.sets["known"].vectors.shape[1]
    margin = float(loss["margin"])
    start: list[str | float | int] = [arm, margin, "squared" if squared else "Euclidean", classes, dim]
    if not encoder.get("normalize", True):
        return [*start, "none", "vectors have no fixed length"]
    feasible = is_feasible_margin(margin, classes, dim, squared)
    return [*start, max_feasible_margin(classes, dim, squared), "yes" if feasible else "no"]


def _state_row(arm: str, run: RunResult) -> list[str | float | int] | None:
    keys = [f"train/state_{state}" for state in STATE_TEXTS]
    if not all(key in run.history for key in keys):
        return None
    looks = run.history[keys].dropna()
    if not len(looks):
        return None
    shares = [float(looks[key].mean()) for key in keys]
    return [arm, len(looks), *shares, STATE_TEXTS[int(looks.iloc[-1].to_numpy(float).argmax())]]
