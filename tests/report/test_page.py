"""Embeddings with little to say still make a whole page, and those with much a readable one."""

import base64
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from plotly.offline import get_plotlyjs

from dml_lightning.cli import main
from dml_lightning.report.matrices import MOST_CLASSES

Made = Callable[..., dict[str, Any]]


def audited(tmp_path: Path, content: dict[str, Any]) -> str:
    """The page that an audit writes."""
    np.savez(tmp_path / "theirs.npz", **content)
    return Path(main(["audit", str(tmp_path / "theirs.npz"), "--out", str(tmp_path / "out")])).read_text()


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
        "Confusion of classes",
        "Distances of classes",
        "What the guarantee rests on",
        "Most confident mistakes",
    ]
    assert "OOD AUROC" not in page.split("<script")[0]


@pytest.mark.parametrize("named", [True, False])
def test_crops_without_flights_are_called_crops(tmp_path: Path, made: Made, named: bool) -> None:
    content = made(calibration=20)
    if not named:
        del content["groups"]
    text = " ".join(audited(tmp_path, content).split("<script")[0].split())
    words = "4 flights" if named else "67 crops"  # 45 known, 8 novel, 14 OOD
    assert f"bootstrap over {words} of the run shown" in text
    assert f"(interval over {words})" in text
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


def test_json_ends_no_script_element_and_says_the_same(tmp_path: Path, made: Made) -> None:
    names = ("</script><!--", "b", "c", "d", "e", "f")
    page = audited(tmp_path, made(names=names))
    text = re.search(r'id="embeddings">(.*?)</script>', page, re.DOTALL).group(1)  # type: ignore[union-attr]
    assert "<" not in text
    assert json.loads(text)["classes"][0]["name"] in names
    assert "</script><!--" in [style["name"] for style in json.loads(text)["classes"]]


def test_arms_on_other_crops_have_pictures_of_their_own(tmp_path: Path, made: Made) -> None:
    for name, spread in (("a", 0.1), ("b", 0.2)):
        np.savez(tmp_path / f"{name}.npz", **made(spread=spread))
    fewer = made()
    kept = np.arange(len(fewer["roles"])) != int(np.flatnonzero(fewer["roles"] == "ood")[0])
    fewer = {k: v[kept] if len(v) == len(kept) else v for k, v in fewer.items()}
    np.savez(tmp_path / "c.npz", **fewer)
    files = [str(tmp_path / f"{name}.npz") for name in "abc"]
    page = Path(main(["report", *files, "-o", str(tmp_path / "r.html")])).read_text()
    shown = json.loads(re.search(r'id="embeddings">(.*?)</script>', page, re.DOTALL).group(1))  # type: ignore[union-attr]
    assert [arm["pool"] for arm in shown["arms"]] == [0, 0, 1]
    assert "whether the arms saw the same crops is for their makers to say" in page


def test_a_page_is_the_same_when_it_is_written_again(tmp_path: Path, made: Made) -> None:
    np.savez(tmp_path / "a.npz", **made())
    pages = [
        Path(main(["report", str(tmp_path / "a.npz"), "-o", str(tmp_path / name)])).read_text()
        for name in ("1.html", "2.html")
    ]
    assert pages[0] == pages[1]


def test_large_thumbnails_are_made_small(tmp_path: Path, made: Made) -> None:
    content = made()
    noise = np.random.default_rng(0).integers(0, 256, size=(len(content["labels"]), 400, 400))
    page = audited(tmp_path, content | {"thumbnails": noise.astype(np.uint8)})
    pictures = re.findall(r'<img src="data:image/png;base64,([^"]*)"', page)
    sides = {Image.open(io.BytesIO(base64.b64decode(picture))).size for picture in pictures}
    assert sides == {(128, 128)}
