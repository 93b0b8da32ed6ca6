"""A row for each box of a data set with the answers to it, as `dml predict` writes it and `TrainedRun` returns it."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import pandas as pd

from dml_lightning.data.sources import Reading
from dml_lightning.data.table import BOX_COLUMNS
from dml_lightning.gallery.answer import answer
from dml_lightning.gallery.gallery import Gallery
from dml_lightning.openset.sets import SetThresholds
from dml_lightning.types import Embeddings

BOX = ["frame", *BOX_COLUMNS, "group"]
# Names of all columns but those of the rules, which begin with `RULES`.
OWN = (
    *(*BOX, "annotation", "score", "min_score", "species", "label", "label_prototype", "label_radius", "label_knn"),
    *("distance", "distance_trained", "neighbours", "neighbour_labels", "p_value", "decision", "rule", "rule_origin"),
    *("rule_score", "rule_score_reason"),
    *("species_set", "set_alpha", "set_level", "set_node", "gallery"),
)
RULES = ("ood_score_", "threshold_")
ROWS = 2048  # of a part of the table, at least: each part takes milliseconds, however few its rows


Lowest = Callable[[Sequence[str]], tuple[str, str]]  # level and name of the lowest node that holds some species


def own_columns(gallery: Gallery) -> list[str]:
    """Names of the columns that a table of these answers has; those of a data set that are called so are left out."""
    return [*OWN, *(f"{each}{name}" for each in RULES for name in gallery.thresholds)]


def sets_of(gallery: Gallery, alpha: float | None, needed: bool = False) -> tuple[SetThresholds | None, str]:
    """Thresholds of the sets of species; None and the reason where the gallery allows none and nobody asked for them.

    Args:
        gallery: Gallery that answers.
        alpha: Largest share of sets without the true species; the gallery's own if not given.
        needed: Whether sets are asked for, as they are where alpha is given.

    Raises:
        ValueError: If alpha is not in (0, 1), or the gallery allows no sets and they were asked for.
    """
    try:
        return (gallery.set_thresholds() if alpha is None else gallery.set_thresholds(alpha)), ""
    except ValueError as error:
        if needed or alpha is not None:
            raise
        return None, str(error)


def predicted_tables(
    reading: Reading,
    embedded: Iterator[Embeddings],
    gallery: Gallery,
    rule: str,
    k: int,
    sets: SetThresholds | None = None,
    lowest: Lowest | None = None,
) -> Iterator[pd.DataFrame]:
    """Yields the rows of the table, some batches at once, in frame order; a table without rows where there is no box.

    The index of a row is that of its box in the table of the reading.
    """
    deciding = gallery.threshold(rule)
    table = reading.table if "score" in reading.table else reading.table.assign(score=float("nan"))
    parts = _larger(embedded)
    for queries in chain([next(parts, gallery.reference.at(slice(0)))], parts):
        answers = answer(gallery, queries, k, sets)
        nodes = [lowest(names) if lowest and sets else ("", "") for names in answers.species_set]
        boxes = table.iloc[queries.index.numpy()]
        scores = {
            f"{column}_{each}": values
            for each, threshold in gallery.thresholds.items()
            for column, values in (("ood_score", answers.score[each]), ("threshold", threshold.value))
        }
        yield boxes[BOX].assign(
            annotation=boxes["label"],
            score=boxes["score"],
            min_score=float("nan") if reading.min_score is None else reading.min_score,
            species=[name if known else "" for name, known in zip(answers.label, answers.known[rule], strict=True)],
            label=answers.label,
            label_prototype=answers.label_prototype,
            label_radius=answers.label_radius,
            label_knn=answers.label_knn,
            distance=answers.distance,
            distance_trained=answers.distance_trained,
            neighbours=[json.dumps(crops) for crops in answers.neighbours],
            neighbour_labels=[json.dumps(labels, ensure_ascii=False) for labels in answers.neighbour_labels],
            **scores,
            p_value=answers.p_value,
            decision=["known" if known else "unknown" for known in answers.known[rule]],
            rule=rule,
            rule_origin=deciding.origin,
            rule_score=deciding.score,
            rule_score_reason=gallery.choice.reason if rule in ("B", "C") else "",
            species_set=[json.dumps(names, ensure_ascii=False) if sets else "" for names in answers.species_set],
            set_alpha=float("nan") if sets is None else sets.alpha,
            set_level=[level for level, _ in nodes],
            set_node=[node for _, node in nodes],
            gallery=gallery.version,
            **{name: boxes[name] for name in reading.carried},
        )


def _larger(batches: Iterator[Embeddings]) -> Iterator[Embeddings]:
    """Joins batches to parts of `ROWS` rows or a few more; the last may have fewer."""
    waiting: list[Embeddings] = []
    for batch in batches:
        waiting.append(batch)
        if sum(map(len, waiting)) >= ROWS:
            yield Embeddings.joined(waiting)
            waiting = []
    if waiting:
        yield Embeddings.joined(waiting)


def relative(table: pd.DataFrame, root: Path) -> pd.DataFrame:
    """The table with its frames as paths below the folder of the data."""
    paths = {frame: Path(os.path.relpath(frame, root)).as_posix() for frame in table["frame"].unique()}
    return table.assign(frame=table["frame"].map(paths).astype("str"))
