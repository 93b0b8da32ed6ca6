"""Simulated data sets on disk: the same bytes for the same seed, valid COCO, and all or nothing."""

import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tifffile

from dml_lightning.simulate import render, simulate
from dml_lightning.simulate.species import CATEGORIES

SMALL = {"width": 160, "height": 128, "birds": 6, "lookalikes": 2, "progress": False}


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_same_seed_same_bytes_whatever_the_workers(tmp_path: Path) -> None:
    one = simulate(tmp_path / "one", flights=2, frames=3, seed=5, workers=1, **SMALL)
    two = simulate(tmp_path / "two", flights=2, frames=3, seed=5, workers=2, **SMALL)
    assert digests(one) == digests(two)
    assert len(digests(one)) == 2 * 3 + 3
    other = simulate(tmp_path / "other", flights=2, frames=3, seed=6, workers=1, **SMALL)
    assert digests(other)["flight_00/frame_0000.tiff"] != digests(one)["flight_00/frame_0000.tiff"]
    more = simulate(tmp_path / "more", flights=3, frames=2, seed=5, workers=1, **SMALL)
    assert digests(more)["flight_01/frame_0001.tiff"] == digests(one)["flight_01/frame_0001.tiff"]


def test_coco_is_valid_and_frames_carry_their_scale(tmp_path: Path) -> None:
    root = simulate(tmp_path / "deep" / "out", flights=2, frames=2, workers=1, **SMALL)
    coco = json.loads((root / "annotations.json").read_text())
    images = {image["id"]: image for image in coco["images"]}
    categories = {category["id"]: category for category in coco["categories"]}
    assert len(images) == len(coco["images"]) == 4
    assert {(c["name"], c["supercategory"]) for c in categories.values()} == set(CATEGORIES)
    assert Counter(c["supercategory"] for c in categories.values()) == {
        "known species": 9,
        "novel species": 4,
        "lookalike": 6,
    }
    assert len({note["id"] for note in coco["annotations"]}) == len(coco["annotations"]) > 10
    for note in coco["annotations"]:
        x, y, width, height = note["bbox"]
        image = images[note["image_id"]]
        assert note["category_id"] in categories
        assert min(width, height) >= 2
        assert min(x, y) >= 0
        assert x + width <= image["width"]
        assert y + height <= image["height"]
        assert note["area"] == width * height
    conditions = json.loads((root / "simulation.json").read_text())
    assert conditions["seed"] == 0
    assert len(conditions["conditions"]) == 2
    for image in images.values():
        with tifffile.TiffFile(root / image["file_name"]) as file:
            pixels = file.asarray()
            assert file.pages[0].description == "degC = 0.01 * counts - 273.15"
        assert pixels.dtype == np.uint16
        assert pixels.shape == (image["height"], image["width"]) == (128, 160)
        flown = conditions["conditions"][int(image["file_name"][7:9])]
        assert np.median(pixels * 0.01 - 273.15) == pytest.approx(flown["water"], abs=4.0)
        assert image["gsd"] == flown["gsd"]


def test_an_empty_folder_is_filled_and_one_worker_per_core_is_the_default(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    settings = {**SMALL, "progress": True}
    root = simulate(tmp_path / "out", flights=1, frames=1, **settings)
    assert root == tmp_path / "out"
    assert "Simulating frames" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert os.access(root, os.R_OK)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flights": 0}, "flights is 0; it must be at least 1"),
        ({"frames": 0}, "frames is 0; it must be at least 1"),
        ({"seed": -1}, "seed is -1; it must be at least 0"),
        ({"altitude": 0.0}, "altitude is 0.0; it must be a positive number"),
        ({"altitude": float("nan")}, "altitude is nan"),
        ({"lens_mm": -1.0}, "lens_mm is -1.0"),
        ({"width": 63}, "width is 63; it must be at least 64"),
        ({"height": 8}, "height is 8"),
        ({"birds": -1}, "birds is -1"),
        ({"lookalikes": -1}, "lookalikes is -1"),
        ({"workers": 0}, "workers is 0; it must be at least 1"),
    ],
)
def test_out_of_range_is_refused_in_one_sentence(tmp_path: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        simulate(tmp_path / "out", **{**SMALL, **change})
    assert not list(tmp_path.iterdir())


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(ValueError, match="already holds something"):
        simulate(tmp_path, **SMALL)
    with pytest.raises(ValueError, match="already holds something"):
        simulate(tmp_path / "mine.txt", **SMALL)
    assert (tmp_path / "mine.txt").read_text() == "keep"


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(render, "render_frame", fail)
    with pytest.raises(OSError, match="disk full"):
        simulate(tmp_path / "out", flights=1, frames=1, workers=1, **SMALL)
    assert not list(tmp_path.iterdir())


def test_the_umask_holds(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        root = simulate(tmp_path / "out", flights=1, frames=1, workers=1, **SMALL)
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (root, root / "flight_00", *root.glob("*.json"))}
    assert modes == {0o700, 0o600}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_workers_and_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    words = ["simulate", f"--out={tmp_path}/out", "--flights=40", "--frames=40", "--workers=2", "--progress=false"]
    program = [sys.executable, "-m", "dml_lightning", *words]
    with subprocess.Popen(program, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        while not list(tmp_path.glob(".out.*.tmp/flight_00/*")):
            assert process.poll() is None
            time.sleep(0.05)
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal does
        else:
            process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said == "\ndml simulate: interrupted; what was complete stays, and nothing is half-written.\n"
    assert not list(tmp_path.iterdir())
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)  # no process of its group is left
