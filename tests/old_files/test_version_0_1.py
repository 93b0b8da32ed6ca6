"""Files that version 0.1 wrote (commit 347641b): they load, and answer as they did.

`run_of_0_1` is a run of a tiny encoder with an enrolled species and a recalibration, without what no command reads;
`answers.json` holds what version 0.1 answered to its test crops.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dml_lightning.cli import main
from dml_lightning.evaluation.evidence import read_evidence
from dml_lightning.evaluation.split import read_split
from dml_lightning.flights.predictions import read_predictions
from dml_lightning.gallery import changes
from dml_lightning.gallery.answer import Answer, answer
from dml_lightning.gallery.calibration import Calibration
from dml_lightning.gallery.decisions import DecidingGallery
from dml_lightning.gallery.gallery import Gallery
from dml_lightning.gallery.records import RECORD_FORMAT, read
from dml_lightning.gallery.trained import TrainedRun
from dml_lightning.models.network import Network
from dml_lightning.openset.thresholds import ScoreChoice
from dml_lightning.renamed import MODULES
from dml_lightning.runs.recipes import read_recipe

HERE = Path(__file__).parent
RUN = HERE / "run_of_0_1"
OLD_NAMES = pytest.mark.filterwarnings("ignore:.*the old name goes with the next release:DeprecationWarning")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return shutil.copytree(RUN, tmp_path / "run")


def check(said: Answer, expected: dict[str, Any]) -> None:
    for name in ("label", "label_prototype", "label_radius", "label_knn"):
        assert getattr(said, name) == expected[name], name
    assert said.distance.tolist() == pytest.approx(expected["distance"], rel=1e-12)
    assert said.p_value.tolist() == expected["p_value"]
    assert said.score.keys() == expected["score"].keys()
    for rule in said.score:
        assert said.score[rule].tolist() == pytest.approx(expected["score"][rule], rel=1e-12, abs=1e-12)
        assert said.known[rule].tolist() == expected["known"][rule]
    joined = [
        " ".join(f"{crop}:{label}" for crop, label in zip(*both, strict=True))
        for both in zip(said.neighbours, said.neighbour_labels, strict=True)
    ]
    assert joined == expected["neighbours"]


@pytest.mark.parametrize("part", ["known", "ood", "novel"])
def test_a_gallery_answers_as_it_did(part: Any) -> None:
    gallery, expected = Gallery.load(RUN / "gallery"), json.loads((RUN / "answers.json").read_text())
    assert (gallery.names, gallery.version) == (expected["names"], expected["version"])
    assert [species.radius for species in gallery.enrolled] == expected["radii"]
    assert [record.format for record in read(RUN / "gallery")] == [1, 1, 1]
    check(answer(gallery, read_evidence(RUN / "embeddings" / "test.npz").sets[part], 3), expected[part])
    rows = read_split(RUN / "embeddings" / "test.npz").sets[part]
    for rule, known in expected[part]["known"].items():
        labels, is_known = DecidingGallery.load(RUN / "gallery").decide(rows, rule)
        assert (labels, is_known.tolist()) == (expected[part]["label"], known)


@OLD_NAMES
def test_a_run_embeds_as_it_did() -> None:
    trained = TrainedRun.load(str(RUN))  # the gallery's digest is that of the weights and the crop options
    assert type(trained.module) is Network
    assert trained.module(torch.zeros(2, 1, 16, 16)).shape == (2, 4)


def test_a_changed_gallery_goes_on_in_the_new_format(run: Path) -> None:
    folder = run / "gallery"
    before = Gallery.load(folder)
    changes.remove_species(folder, "tundra swan")
    known = read_evidence(run / "embeddings" / "test.npz").sets["known"]
    groups = np.array(["a", "b"] * len(known))[: len(known)]
    changes.recalibrate_rule_c(folder, known, groups, before.encoder, 0.2)
    assert [record.format for record in read(folder)] == [1, 1, 1, RECORD_FORMAT, RECORD_FORMAT]
    after = Gallery.load(folder)
    assert (after.names, after.threshold("C").alpha) == (before.class_names, 0.2)
    assert after.threshold("B").value == before.threshold("B").value


def test_a_gallery_without_its_calibration_crops_knows_those_of_rule_c(run: Path) -> None:
    """Version 0.1 kept the scores that the threshold was chosen on; as many flights as crops means one of each."""
    gallery = Gallery.load(run / "gallery")
    threshold, (scores, owners) = gallery.threshold("C"), gallery.calibration_scores()
    assert gallery.calibration is None
    assert (scores is threshold.scores, owners is threshold.owners, gallery.per_flight) == (True, True, False)
    single = replace(threshold, groups=threshold.samples)
    assert replace(gallery, thresholds={"C": single}).per_flight


def test_a_validation_does_not_undo_a_recalibration(run: Path) -> None:
    """It adds the calibration crops to a base of version 0.1, unless another threshold of rule C was chosen since."""
    folder = run / "gallery"
    before, (base, *later) = Gallery.load(folder), read(folder)
    crops = Calibration(np.ones((3, len(before.class_names))), np.zeros(3, np.int64), np.arange(3))
    rebuilt = Gallery(**Gallery.contents(base))
    reference = replace(rebuilt.reference, features=torch.ones(len(rebuilt.reference), 6))
    choice, distances = ScoreChoice("knn1_features", "a reason", {"nearest": 0.5}), np.ones((3, 2))
    rebuilt = replace(rebuilt, calibration=crops, reference=reference, choice=choice, validation=distances)
    assert before.threshold("C").value != rebuilt.threshold("C").value
    rebuilt.save(folder)
    assert Gallery.load(folder).version == before.version
    for record in later:
        (folder / f"{record.number:04d}.json").unlink()
    rebuilt.save(folder)
    kept = Gallery.load(folder).calibration
    assert kept is not None
    assert kept.flights.tolist() == [0, 1, 2]
    assert Gallery.load(folder).choice.kind == "knn1_features"


def test_an_old_gallery_refuses_by_the_distance_to_the_prototype(run: Path) -> None:
    gallery = Gallery.load(run / "gallery")
    known = read_evidence(run / "embeddings" / "test.npz").sets["known"]
    assert (gallery.choice.kind, gallery.why, known.features) == ("nearest", "", None)
    assert gallery.scores(known).tolist() == answer(gallery, known).distance_trained.tolist()
    assert all("refuses" not in threshold.origin for threshold in gallery.thresholds.values())


def test_the_same_base_is_not_written_again(run: Path) -> None:
    (run / "gallery" / "0002.json").unlink()
    (run / "gallery" / "0001.json").unlink()
    base = Gallery.load(run / "gallery")
    base.save(run / "gallery")
    assert len(read(run / "gallery")) == 1


def test_commands_take_an_old_run(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["gallery", "list", "--run", str(run)])
    assert "tundra swan" in capsys.readouterr().out
    page = main(["report", str(run), "-o", str(tmp_path / "report.md")])
    assert "OOD AUROC" in Path(page).read_text()
    assert read_recipe(run)["name"] == "triplet"


def test_predictions_are_read(run: Path) -> None:
    (run / "gallery" / "0002.json").unlink()  # they were made before the recalibration
    gallery = Gallery.load(run / "gallery")
    read = read_predictions(HERE / "predictions_of_0_1.csv", gallery)
    assert (read.rule, len(read.table), read.frames) == ("C", 8, None)
    assert read.table["label"].tolist()[0] == "tundra swan"


def test_every_class_path_of_before_resolves() -> None:
    recipe = (RUN / "recipe.fit.yaml").read_text()
    old = {line.split()[-1] for line in recipe.splitlines() if "class_path: dml_lightning" in line}
    moved = {path for path in old if path.rpartition(".")[0].removeprefix("dml_lightning.") in MODULES}
    assert moved == {
        "dml_lightning.checkpoints.BestCheckpoint",
        "dml_lightning.checkpoints.LatestCheckpoint",
    }
