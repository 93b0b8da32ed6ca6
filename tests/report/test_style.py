"""Lines, labels and settings, the same in every figure."""

import pytest

from dml_lightning.report.style import LONGEST_LABEL, arm_styles, axis, label, layout


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
