"""Colours, shapes and labels, the same in every figure."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from dml_lightning.evaluation.evidence import read_evidence
from dml_lightning.report.style import LONGEST_LABEL, arm_styles, axis, class_styles, label, layout
from tests.made_up import Made


def test_every_class_with_test_crops_has_a_look_of_its_own(made: Made, tmp_path: Path) -> None:
    np.savez(tmp_path / "e.npz", **made())  # type: ignore[arg-type]
    styles = class_styles(read_evidence(tmp_path / "e.npz"))
    assert [style.name for style in styles] == ["mallard", "gadwall", "coot", "swan", "person", "glint"]
    assert [style.role for style in styles] == 3 * ["known"] + ["novel"] + 2 * ["ood"]
    assert len({(style.colour, style.shape) for style in styles}) == 6
    shapes = {role: {style.shape for style in styles if style.role == role} for role in ("known", "novel", "ood")}
    assert not any(shapes[one] & shapes[two] for one, two in product(shapes, shapes) if one != two)


def test_trained_arms_have_colours_and_floors_grey_dashes() -> None:
    styles = arm_styles({"pixels": False, "softmax": True, "triplet": True, "random": False})
    assert styles["pixels"]["color"] == styles["random"]["color"]
    assert styles["pixels"]["dash"] != styles["random"]["dash"]
    assert len({styles[arm]["color"] for arm in ("pixels", "softmax", "triplet")}) == 3
    assert styles["softmax"]["dash"] == styles["triplet"]["dash"] == "solid"


@pytest.mark.parametrize("count", [7, 8, 28])
def test_many_arms_are_told_apart(count: int) -> None:
    styles = arm_styles({f"arm {n}": True for n in range(count)})
    assert len({(style["color"], style["dash"]) for style in styles.values()}) == count


def test_labels_are_shortened_in_the_middle_and_hold_no_markup() -> None:
    assert label("coot") == "coot"
    exact = "x" * LONGEST_LABEL
    assert label(exact) == exact
    long = label("a" * 20 + "b" * 20)
    assert len(long) == LONGEST_LABEL
    assert (long[:5], long[-5:], long.count("…")) == ("aaaaa", "bbbbb", 1)
    assert label('<b> & "x"') == '&lt;b&gt; &amp; "x"'


def test_settings_can_be_changed() -> None:
    assert axis("x")["title"]["text"] == "x"
    assert axis("x", ticks="")["ticks"] == ""
    assert layout(300)["height"] == 300
    assert layout(300, dragmode="pan")["dragmode"] == "pan"
    assert layout(300)["dragmode"] is False  # the change stays where it was made
