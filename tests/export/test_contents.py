"""What model.json and arrays.safetensors hold, beside the run that they come from."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from dml_lightning.export.contents import model_arrays, model_content, sha256
from dml_lightning.export.score import Embedded
from dml_lightning.gallery.summary import EnrolledSpecies
from tests.export.made_up import model_of, random_run, run_with


def test_model_json_states_where_thresholds_come_from(exported: Callable[[str], Path]) -> None:
    content = json.loads((exported("softmax") / "model" / "model.json").read_text())
    assert content["classes"] == ["goose", "gull", "teal"]
    assert [species["label"] for species in content["enrolled"]] == ["swan", "heron"]
    rule = content["rules"]["C"]
    assert (rule["alpha"], rule["calibration_flights"], rule["kind"]) == (0.1, 1, "nearest")
    assert rule["calibration_crops"] > 20
    assert content["rules"]["C_class"]["kind"] == "class"
    assert content["crop"]["unit"] == "counts"
    assert len(content["checks"]) == 2
    infinite = json.loads((exported("frame") / "model" / "model.json").read_text())
    assert infinite["rules"]["C"]["threshold"] is None
    assert infinite["crop"]["radiometry"] == {"gain": 0.01, "offset": -273.15}


def test_the_content_is_json_and_names_its_run(tmp_path: Path) -> None:
    (tmp_path / "group" / "run").mkdir(parents=True)
    fit = {"started": "2026-01-01", "code": "abc", "status": "finished"}
    (tmp_path / "group" / "run" / "run.json").write_text(json.dumps({"stages": {"fit": fit}}))
    content = model_content(random_run(tmp_path / "group" / "run"), "degC")
    assert json.loads(json.dumps(content, allow_nan=False))["run"] == "group/run"
    assert content["fit"] == {"started": "2026-01-01", "code": "abc"}
    assert content["crop"]["unit"] == "degC"
    assert content["rules"]["A"]["alpha"] is None  # it has none, which JSON cannot say by NaN


def test_stored_crops_come_in_the_seeded_order_with_enrolled_ones_last_in_it(tmp_path: Path) -> None:
    gallery = random_run(tmp_path).gallery
    swan = EnrolledSpecies("swan", np.full((2, 4), 7, np.float32), 1.5)
    arrays = model_arrays(run_with(replace(gallery, enrolled=(swan,))))
    count = len(gallery.reference) + 2
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0)).numpy()
    expected = np.concatenate([gallery.reference.vectors.numpy(), swan.vectors])
    assert np.array_equal(arrays["reference_vectors"], expected[order])
    is_swan = arrays["reference_labels"] == 3
    assert (arrays["reference_vectors"][is_swan] == 7).all()
    assert sorted(arrays["reference_index"][is_swan]) == [0, 1]
    assert np.array_equal(arrays["enrolled_prototypes"], [[7, 7, 7, 7]])
    assert arrays["enrolled_radii"].tolist() == [1.5]


def test_every_threshold_finds_its_arrays(tmp_path: Path) -> None:
    trained = random_run(tmp_path)
    arrays, thresholds = model_arrays(trained), trained.gallery.thresholds
    assert np.array_equal(arrays["class_thresholds.C_class"], thresholds["C_class"].per_class.values)
    assert np.array_equal(arrays["calibration_scores"], thresholds["C"].scores)
    assert arrays["enrolled_prototypes"].shape == (0, 4)
    assert np.array_equal(arrays["head_weight"], trained.module.linear_head().weight.numpy())


def test_the_digest_is_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\r\n\x00")
    assert sha256(tmp_path / "file") == hashlib.sha256(b"\r\n\x00").hexdigest()


def test_limits_of_the_sets_are_those_of_the_gallery(tmp_path: Path) -> None:
    trained = random_run(tmp_path)
    sets = trained.gallery.set_thresholds()
    assert model_arrays(trained)["set_limits"].tolist() == sets.values.tolist()
    assert model_content(trained, "counts")["sets"] == {"alpha": 0.05, "thresholds": sets.origin(["a", "b", "c"])}
    bare = run_with(replace(trained.gallery, calibration=None))
    assert "set_limits" not in model_arrays(bare)
    assert model_content(bare, "counts")["sets"] is None
    assert "species_set" not in model_of(bare).judge(Embedded(np.zeros((1, 4), np.float32)))
