"""Whether an exported folder says what the run says: on random crops, and on frames of its data where they are."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from dml_lightning.data.crops import BOX_COLUMNS, by_frame
from dml_lightning.data.frames import Unit
from dml_lightning.export.graph import DeployedEncoder
from dml_lightning.export.score import Model
from dml_lightning.gallery.answer import Answer, answer
from dml_lightning.gallery.trained import TrainedRun
from dml_lightning.types import Embeddings

TOLERANCE = 1e-4  # of a score
RANDOM_CROPS = 64
Found = tuple[NDArray[np.float32], NDArray[np.float32] | None]  # embeddings (N, D), logits (N, C)


class Deviation(NamedTuple):
    """How far the exported folder is from the run."""

    crops: int
    embedding: float  # largest difference of any component
    score: float  # largest difference under any rule
    decisions: int  # that differ where a score is farther than TOLERANCE from its threshold


@torch.no_grad()
def random_crops(trained: TrainedRun, graph: DeployedEncoder, unit: Unit, folder: Path, model: Model) -> Deviation:
    """Compares the encoder with both written graphs on random crops, flat ones among them."""
    import torch.export

    inputs = graph.example(RANDOM_CROPS, unit, seed=1)
    vectors, *logits = graph(**inputs)
    said = model.session.run(None, {name: value.numpy() for name, value in inputs.items()})
    rows = torch.arange(RANDOM_CROPS)
    expected = Embeddings(vectors, rows, rows, logits[0] if logits else None)
    program = torch.export.load(folder / "encoder.pt2").module()
    found = (said[0], said[1] if logits else None)
    again = [value.numpy() for value in program(**inputs)]
    return max(
        deviation(trained, expected, model, found),
        deviation(trained, expected, model, (again[0], again[1] if logits else None)),
        key=lambda difference: difference.score,
    )


def frames_of_run(trained: TrainedRun, table: pd.DataFrame, model: Model) -> Deviation | None:
    """Compares from the frame to the decision, by the run's own readers; None if no frame can be read."""
    embedded = list(trained.embed_table(table, RANDOM_CROPS, "skip", {}))
    if not embedded:
        return None
    index = torch.cat([part.index for part in embedded])
    logits = [part.logits for part in embedded if part.logits is not None]
    expected = Embeddings(
        torch.cat([part.vectors for part in embedded]),
        torch.cat([part.labels for part in embedded]),
        index,
        torch.cat(logits) if logits else None,
    )
    read = table.iloc[np.sort(index.numpy())]  # without the frames that were skipped
    found = [
        model.embed(model.cut(model.read(path), read.iloc[rows][BOX_COLUMNS].to_numpy()))
        for path, rows in by_frame(read)
    ]
    own_logits = [part[1] for part in found if part[1] is not None]
    vectors = np.concatenate([part[0] for part in found])
    return deviation(trained, expected, model, (vectors, np.concatenate(own_logits) if own_logits else None))


def deviation(trained: TrainedRun, expected: Embeddings, model: Model, found: Found) -> Deviation:
    """Compares embeddings, and what either says of its own."""
    thresholds = trained.gallery.thresholds
    ours, score, decisions = answer(trained.gallery, expected), 0.0, 0
    for rule in thresholds:
        theirs = model.judge(found[0], found[1], rule)
        score = max(score, _largest(ours.score[rule], theirs[f"ood_score_{rule}"]))
        decisions += int(_disagreements(ours, theirs, rule, thresholds[rule].value).sum())
    return Deviation(len(expected), _largest(expected.vectors.numpy(), found[0]), score, decisions)


def _disagreements(ours: Answer, theirs: dict[str, NDArray[Any]], rule: str, threshold: float) -> NDArray[np.bool_]:
    clear = np.abs(ours.score[rule] - threshold) > TOLERANCE
    different: NDArray[np.bool_] = (ours.known[rule] != (theirs["decision"] == "known")) & clear
    return different


def _largest(one: NDArray[Any], other: NDArray[Any]) -> float:
    return float(np.abs(one - other).max())


def require(difference: Deviation, what: str) -> None:
    """Refuses an export that says something else.

    Raises:
        ValueError: With the largest difference.
    """
    if not difference.score <= TOLERANCE or difference.decisions:  # NaN too
        raise ValueError(
            f"the exported model differs from the run on {difference.crops} {what}: scores by up to "
            f"{difference.score:.1e} (allowed {TOLERANCE:g}), {difference.decisions} decisions; nothing was written."
        )


def said(difference: Deviation, what: str) -> str:
    """One line for the terminal and the README."""
    return (
        f"{difference.crops} {what}: embeddings within {difference.embedding:.1e}, "
        f"scores within {difference.score:.1e}, {difference.decisions} decisions differ"
    )


def sample(table: pd.DataFrame, count: int) -> pd.DataFrame:
    """Rows spread evenly over a table."""
    rows = np.unique(np.linspace(0, len(table) - 1, count).round().astype(int))
    return table.iloc[rows].reset_index(drop=True)
