"""The README of an exported folder states what the folder holds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dml_lightning.export.contents import model_content
from dml_lightning.export.readme import readme
from tests.export.made_up import random_run


def text_of(folder: Path, **crop: Any) -> str:
    content = model_content(random_run(folder), "counts")
    content |= {"checks": ["64 random crops", "8 crops of the run's data"], "crop": content["crop"] | crop}
    return readme(content, ["crops (N, 1, 16, 16)"], ["embedding (N, 4)", "logits (N, 3)"], 18)


def test_the_readme_of_the_folder_states_rules_and_geometry(exported: Callable[[str], Path]) -> None:
    text = (exported("softmax") / "model" / "README.md").read_text()
    for sentence in ("max(1.5 × the box's longer side, 8 px)", "n=", "swan, heron", "crops (N, 1, 16, 16)"):
        assert sentence in text
    frame = (exported("frame") / "model" / "README.md").read_text()
    assert "none: refuses nothing" in frame
    assert "degC = 0.01 × counts + -273.15" in frame


def test_rules_inputs_outputs_and_checks_are_listed(tmp_path: Path) -> None:
    text = text_of(tmp_path)
    rules = [line for line in text.splitlines() if line.startswith(("| A |", "| B |", "| C |", "| C_class |"))]
    scores = ("beyond the nearest ball", "to the nearest prototype", "to the nearest prototype", "most lenient class")
    assert len(rules) == 4
    for row, score in zip(rules, scores, strict=True):
        assert score in row
    assert "| C: split conformal, alpha=0.1, n=60 crops of 1 flights; refuses " in rules[2]
    assert "| `encoder.onnx` | `crops (N, 1, 16, 16)` → `embedding (N, 4)`, `logits (N, 3)`, float32" in text
    assert text.endswith("- 64 random crops\n- 8 crops of the run's data\n")
    assert "of 3 classes (a, b, c) and refuses" in text  # no enrolled species


@pytest.mark.parametrize(
    ("crop", "sentence"),
    [
        ({"normalisation": "crop"}, "normalised by its own median and contrast"),
        ({"normalisation": "frame"}, "the second input `statistics`"),
        ({"normalisation": "window", "window": [10, 25]}, "scaled from 10 to 25 degC to -1..1"),
        (
            {"side_inputs": ["width", "height", "contrast"]},
            "`side` has width and height of each box in px (_m: in metres), as columns",
        ),
        ({"crop_metres": 2.5}, "2.5 m on the ground, by the frame's metres per px"),
        ({"unit": "counts"}, "Frames are 8- or 16-bit unsigned integers in counts."),
        ({"unit": "degC"}, "Frames are floats in degC."),
    ],
)
def test_frames_and_normalisation_are_described(tmp_path: Path, crop: dict[str, Any], sentence: str) -> None:
    assert sentence in text_of(tmp_path, **crop)


def test_what_sets_of_species_hold_is_stated(tmp_path: Path) -> None:
    with_sets = " ".join(text_of(tmp_path).split())
    promise = "`species_set` holds the species of a known crop with probability 0.95, before refusal and for crops like"
    assert f"{promise} those of the calibration: a threshold per class for a, b, c (20 or more crops)." in with_sets
    content = model_content(random_run(tmp_path), "counts") | {"checks": [], "sets": None}
    assert "There are no sets of species, as the run keeps no calibration crops" in readme(content, [], [], 18)
