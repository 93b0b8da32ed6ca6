"""Embeddings with little to say still make a whole page, and those with much a readable one."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from plotly.offline import get_plotlyjs

from dml_lightning.evaluation.npz import LISTS
from dml_lightning.report.matrices import MOST_CLASSES
from dml_lightning.report.numbers import Coverage
from dml_lightning.report.sections import calibrated_on
from tests.made_up import Made
from tests.report.audits import audited


def headings(page: str) -> list[str]:
    return re.findall(r"<h2[^>]*>([^<]*)</h2>", page)


def test_known_classes_alone(tmp_path: Path, made: Made) -> None:
    content = made()
    kept = np.isin(content["roles"], ("reference", "known"))
    rows = {key: value[kept] for key, value in content.items() if len(value) == len(kept)}
    page = audited(tmp_path, rows)
    assert headings(page) == [
        "Arms",
        "Embeddings",
        "Distances",
        "Naming or refusing",
        "Confusion of classes",
        "Distances of classes",
        "What the guarantee rests on",
        "Most confident mistakes",
    ]
    assert "OOD AUROC" not in page.split("<script")[0]


def test_clutter_is_reported_apart_as_a_kind_that_was_seen(tmp_path: Path, made: Made) -> None:
    content = made()
    plain = audited(tmp_path, dict(content))
    assert "clutter" not in plain.split("<script")[0]
    rows = np.flatnonzero(content["roles"] == "ood")[:5]
    more = {key: np.concatenate([value, value[rows]]) for key, value in content.items() if key not in LISTS}
    more["roles"] = np.concatenate([content["roles"].astype("U9"), ["clutter"] * 5])
    more["labels"] = np.concatenate([content["labels"].astype("U9"), ["ice"] * 5])
    more["class_names"] = np.array([*content["class_names"], "ice"])
    page = audited(tmp_path, more | {"far_ood": content["far_ood"]}).split("<script")[0]
    text = " ".join(page.split())
    assert "14 that are no waterfowl or of no class at all (OOD)" in text
    assert "Beside them, 5 crops of clutter: of other flights, but of kinds that training saw" in text
    assert "AUROC against clutter, a kind that was seen, by detector" in text


@pytest.mark.parametrize("named", [True, False])
def test_crops_without_flights_are_called_crops(tmp_path: Path, made: Made, named: bool) -> None:
    content = made(calibration=20)
    if not named:
        del content["groups"]
    text = " ".join(audited(tmp_path, content).split("<script")[0].split())
    units = "4 flights" if named else "59 crops"  # 45 known, 14 OOD
    assert f"bootstrap over {units} of the run shown" in text
    assert f"({'range' if named else 'interval'} over {units})" in text
    assert ("name their flights" in text) == (not named)
    source = " of 4 flights" if named else ""
    assert f"calibrated on 60 crops{source}, used for nothing else" in text
    assert ("flight by flight" in text) == named
    assert ("some flights lie above" in text) == named
    rows = (tmp_path / "out" / "coverage.csv").read_text().splitlines()
    assert len(rows) == 1 + 5 + (4 if named else 0)  # a row per alpha, and per flight


@pytest.mark.parametrize("crops", [1, 3])
def test_one_class_with_few_crops(tmp_path: Path, crops: int) -> None:
    vectors = np.random.default_rng(0).normal(size=(2 * crops, 4))
    roles = np.repeat(["reference", "known"], crops)
    page = audited(tmp_path, {"vectors": vectors, "labels": np.full(2 * crops, "a"), "roles": roles})
    assert "balanced accuracy 1.000 on" in page


def test_many_classes_and_wide_vectors(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.tile(np.arange(140), 4)
    roles = np.repeat(["reference", "known"], 280)
    content = {
        "vectors": (rng.normal(size=(140, 200))[labels] + rng.normal(size=(560, 200))).astype(np.float16),
        "labels": np.char.add("character ", labels.astype(str)),
        "roles": roles,
    }
    page = audited(tmp_path, content)
    shown = json.loads(re.search(r'id="embeddings">(.*?)</script>', page, re.DOTALL).group(1))  # type: ignore[union-attr]
    assert len(shown["classes"]) == 140
    looks = {(style["colour"], style["shape"]) for style in shown["classes"][:28]}
    assert len(looks) == 28  # so many classes are told apart by colour and shape
    assert shown["pools"][0]["sprite"] is None
    figures = json.loads(re.search(r'id="figures">(.*?)</script>', page, re.DOTALL).group(1))  # type: ignore[union-attr]
    sides = {len(d["z"]) for f in figures for d in f["data"] if d["type"] == "heatmap"}
    assert sides == {MOST_CLASSES}
    for which in ("confused most", "nearest to each other"):
        assert f"<figcaption>theirs (30 of 140 classes, those {which})</figcaption>" in page
    assert len(page.encode()) - len(get_plotlyjs().encode()) < 600_000


def test_what_rule_c_was_calibrated_on_is_told_as_it_was() -> None:
    several = Coverage({0.1: 0.08}, 0.1, {"a": (0.08, 10)}, samples=90, flights=9)
    single = Coverage({0.1: 0.08}, 0.1, {"a": (0.08, 10)}, samples=9, flights=9)
    assert "on 90 crops of 9 flights, " in calibrated_on(several, flights=True)
    assert "on one random crop of each of 9 flights, " in calibrated_on(single, flights=True)
    assert "on 9 crops, " in calibrated_on(single, flights=False)  # each crop counts as a flight of its own
