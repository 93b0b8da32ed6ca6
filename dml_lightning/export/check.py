"""Comparison of an exported folder with its run, on random crops and on frames of the run's data."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from dml_lightning.data.crops import by_frame
from dml_lightning.data.frames import Unit
from dml_lightning.data.ground import ground_distances
from dml_lightning.data.table import BOX_COLUMNS
from dml_lightning.export.contents import set_thresholds
from dml_lightning.export.graph import DeployedEncoder
from dml_lightning.export.score import Crops, Embedded, Model
from dml_lightning.gallery.answer import Answer, answer
from dml_lightning.gallery.trained import TrainedRun
from dml_lightning.types import Embeddings

TOLERANCE = 1e-4  # largest difference of a score, relative to scores above 1
RANDOM_CROPS = 64


class Deviation(NamedTuple):
    """Differences between the exported folder and the run."""

    crops: int
    embedding: float  # largest absolute difference of a component
    score: float  # largest difference of a score over all rules, relative to scores above 1
    decisions: int  # number that differ although the score is farther than TOLERANCE from its threshold, and of sets


@torch.no_grad()
def random_crops(trained: TrainedRun, graph: DeployedEncoder, unit: Unit, folder: Path, model: Model) -> Deviation:
    """Compares the encoder with both written graphs on random crops, flat ones among them.

    Args:
        trained: The run.
        graph: Its encoder, as it was exported.
        unit: Unit of the raw crops.
        folder: Folder with encoder.pt2.
        model: Reader of the same folder, which runs encoder.onnx.

    Returns:
        The deviation of the graph whose scores differ more.
    """
    import torch.export

    inputs = graph.example(RANDOM_CROPS, unit, seed=1)
    named = dict(zip(graph.output_names, graph(**inputs), strict=True))
    rows = torch.arange(RANDOM_CROPS)
    expected = Embeddings(named["embedding"], rows, rows, named.get("logits"), named.get("features"))
    program = torch.export.load(folder / "encoder.pt2").module()
    from_program = dict(zip(graph.output_names, (value.numpy() for value in program(**inputs)), strict=True))
    given = {name: value.numpy() for name, value in inputs.items()}
    crops = Crops(given["crops"], given.get("statistics"), given.get("side"))
    return max(
        deviation(trained, expected, model, model.embed(crops)),
        deviation(trained, expected, model, Embedded(from_program.pop("embedding"), **from_program)),
        key=lambda difference: difference.score,
    )


def frames_of_run(trained: TrainedRun, table: pd.DataFrame, model: Model) -> Deviation | None:
    """Compares every step from the frame to the decision; None if no frame can be read.

    Args:
        trained: The run, which reads the frames by its own readers.
        table: Crop table of the boxes to compare.
        model: Reader of the exported folder.
    """
    expected = next(trained.embed_table(table, max(len(table), 1), "skip", {}), None)
    if expected is None:
        return None
    read = table.iloc[expected.index.numpy()]  # without the frames that were skipped
    frames = list(by_frame(read))
    gsd = ground_distances(read) if trained.options.needs_gsd else np.full(len(read), np.nan)
    parts = [
        model.embed(
            model.cut(
                model.read(path),
                read.iloc[rows][BOX_COLUMNS].to_numpy(),
                gsd[rows[0]],
            )
        )
        for path, rows in frames
    ]
    order = np.concatenate([rows for _, rows in frames]).argsort()  # back to the order of the table
    columns = {name: [getattr(part, name) for part in parts] for name in Embedded._fields}
    joined = {name: np.concatenate(own)[order] for name, own in columns.items() if own[0] is not None}
    return deviation(trained, expected, model, Embedded(**joined))


def deviation(trained: TrainedRun, expected: Embeddings, model: Model, found: Embedded) -> Deviation:
    """Compares embeddings, and the scores and decisions that the run and the exported folder give to their own.

    Args:
        trained: The run.
        expected: Embeddings (N, D) that the run made.
        model: Reader of the exported folder.
        found: What the folder made of the same crops.
    """
    thresholds = trained.gallery.thresholds
    ours, score, decisions = answer(trained.gallery, expected), 0.0, 0
    for rule in thresholds:
        theirs = model.judge(found, rule)
        scale = np.maximum(1, np.abs(ours.score[rule]))
        score = max(score, _largest(ours.score[rule] / scale, theirs[f"ood_score_{rule}"] / scale))
        decisions += int(_disagreements(ours, theirs, rule, thresholds[rule].value).sum())
    decisions += _different_sets(trained, expected, model.judge(found))
    return Deviation(len(expected), _largest(expected.vectors.numpy(), found.embeddings), score, decisions)


def _disagreements(ours: Answer, theirs: dict[str, NDArray[Any]], rule: str, threshold: float) -> NDArray[np.bool_]:
    """Whether decisions (N,) differ that are clear: those whose score is not within TOLERANCE of the threshold."""
    clear = np.abs(ours.score[rule] - threshold) > TOLERANCE * np.maximum(1, np.abs(ours.score[rule]))
    different: NDArray[np.bool_] = (ours.known[rule] != (theirs["decision"] == "known")) & clear
    return different


def _different_sets(trained: TrainedRun, expected: Embeddings, theirs: dict[str, NDArray[Any]]) -> int:
    """Number of crops whose classes in the set are neither of those at limits a bit smaller and a bit larger.

    Enrolled species, which are in a set by their ball, are compared by the decisions.
    """
    sets = set_thresholds(trained.gallery)
    if sets is None:
        return 0
    inner, outer = (
        answer(trained.gallery, expected, sets=replace(sets, values=sets.values + moved)).species_set
        for moved in (-2 * TOLERANCE, 2 * TOLERANCE)
    )
    trio = zip(inner, map(json.loads, theirs["species_set"]), outer, strict=True)
    classes = set(trained.gallery.class_names)
    return sum(not set(least) & classes <= set(own) & classes <= set(most) for least, own, most in trio)


def _largest(one: NDArray[Any], other: NDArray[Any]) -> float:
    return float(np.abs(one - other).max())


def require(difference: Deviation, what: str) -> None:
    """Refuses an export whose answers differ from the run's.

    Args:
        difference: Outcome of a comparison.
        what: Name of the compared crops, for the message.

    Raises:
        ValueError: If a score differs by more than TOLERANCE, or a clear decision differs.
    """
    if not difference.score <= TOLERANCE or difference.decisions:  # NaN too
        raise ValueError(
            f"the exported model differs from the run on {difference.crops} {what}: scores by up to "
            f"{difference.score:.1e} (allowed {TOLERANCE:g}), {difference.decisions} decisions; nothing was written."
        )


def said(difference: Deviation, what: str) -> str:
    """Describes a deviation in one line, for the terminal and the README.

    >>> said(Deviation(64, 1e-7, 2e-6, 0), "random crops")
    '64 random crops: embeddings within 1.0e-07, scores within 2.0e-06, 0 decisions differ'
    """
    return (
        f"{difference.crops} {what}: embeddings within {difference.embedding:.1e}, "
        f"scores within {difference.score:.1e}, {difference.decisions} decisions differ"
    )


def sample(table: pd.DataFrame, count: int) -> pd.DataFrame:
    """At most `count` rows, spread evenly over a table.

    >>> sample(pd.DataFrame({"x": range(9)}), 3)["x"].tolist()
    [0, 4, 8]
    """
    rows = np.unique(np.linspace(0, len(table) - 1, count).round().astype(int))
    return table.iloc[rows].reset_index(drop=True)
