"""Curves of training, short and long."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from dml_lightning.report.inputs import read_inputs
from dml_lightning.report.training import training_section
from tests.made_up import Made


@pytest.mark.parametrize(("logged", "drawn"), [(300, 300), (10_000, 300)])
def test_long_curves_are_thinned_from_end_to_end_and_say_so(
    run_of: Callable[..., Path], logged: int, drawn: int
) -> None:
    run = run_of("triplet")
    values = np.linspace(1, 0, logged)
    rows = [f"{10 * step},{value}" for step, value in enumerate(values)]
    text = "\n".join(["step,train/active_triplet_fraction", *rows, ""])
    (run / "csv" / "fit" / "metrics.csv").write_text(text)
    section = training_section(read_inputs([run]), {"triplet": {}})
    assert section is not None
    (curve,) = section.figures[0].data
    assert len(curve["x"]) == len(curve["y"]) == drawn
    assert (curve["x"][0], curve["y"][0]) == (0, 1)
    assert (curve["x"][-1], curve["y"][-1]) == (10 * (logged - 1), 0)
    assert section.figures[0].table.rows == [["triplet", 1.0, 0.0]]
    assert ("300 values are drawn" in section.paragraphs[0]) == (drawn < logged)


@pytest.mark.parametrize(
    ("monitor", "groups", "number"),
    [
        ("val/selection_map_at_r", list("abcd"), "MAP@R, other groups"),
        ("val/selection_map_at_r", ["a"], "MAP@R"),  # one flight: nothing is found in another
        ("val/selection_map_at_r", None, "MAP@R"),
        ("val/ood_auroc", list("abcd"), "OOD AUROC"),
    ],
)
def test_it_says_what_chose_the_checkpoints(
    run_of: Callable[..., Path], made: Made, monitor: str, groups: list[str] | None, number: str
) -> None:
    run, arrays = run_of("triplet"), made()
    arrays["groups"] = np.resize(groups or ["a"], len(arrays["labels"]))
    if groups is None:
        del arrays["groups"]
    np.savez(run / "embeddings" / "val.npz", **arrays)  # type: ignore[arg-type]
    recipe = yaml.safe_load((run / "recipe.fit.yaml").read_text())
    best = {"class_path": "dml_lightning.runs.checkpoints.BestCheckpoint", "init_args": {"monitor": monitor}}
    recipe["trainer"] = {"callbacks": [{"class_path": "dml_lightning.callbacks.Retrieval"}, best]}
    (run / "recipe.fit.yaml").write_text(yaml.safe_dump(recipe))
    section = training_section(read_inputs([run]), {"triplet": {}})
    assert section is not None
    assert f"Checkpoints of triplet were chosen by {number} on validation." in section.paragraphs[0]


def test_nothing_is_said_of_checkpoints_that_no_recipe_chooses(run_of: Callable[..., Path]) -> None:
    section = training_section(read_inputs([run_of("triplet")]), {"triplet": {}})
    assert section is not None
    assert "Checkpoints" not in section.paragraphs[0]
