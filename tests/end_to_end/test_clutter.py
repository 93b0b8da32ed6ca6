"""Runs that train against what is not a bird, as a user makes them."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from dml_lightning.cli import main
from dml_lightning.gallery.trained import TrainedRun
from dml_lightning.models.network import Classifier
from dml_lightning.runs.fairness import differences
from tests.end_to_end.arms import ARMS, arm_words
from tests.end_to_end.test_python_and_ranks import NO_BATCH_NORM

CLUTTER = ["--data.ood_train=[background]", "--data.ood_val=[debris, glint]", "--data.far_ood=[glint, person]"]


@pytest.fixture(scope="module")
def trained(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tested run of each arm."""
    root = f"--runs_root={tmp_path_factory.mktemp('clutter')}"
    runs = {arm: main(["fit", *arm_words(words, arm), *CLUTTER, root]) for arm in ARMS}
    return {arm: main(["test", "--run", str(run)]) for arm, run in runs.items()}


@pytest.mark.parametrize("arm", ARMS)
def test_clutter_is_measured_apart(trained: dict[str, Path], arm: str) -> None:
    values = json.loads((trained[arm] / "metrics" / "test.json").read_text())
    assert {"test/clutter_auroc", "test/clutter_auroc_background", "test/ood_auroc_person"} <= set(values)
    assert "test/ood_auroc_background" not in values
    assert ("test/reject_clutter_auroc" in values) == ("test/reject_ood_auroc" in values) == (arm == "softmax")
    with np.load(trained[arm] / "embeddings" / "test.npz") as file:
        clutter = file["roles"] == "clutter"
        assert set(file["class_names"][file["labels"][clutter]]) == {"background"}
        assert not set(file["groups"][clutter]) & set(file["groups"][file["roles"] == "reference"])
        assert ("reject_weight" in file) == (arm == "softmax")
    assert json.loads((trained[arm] / "facts.json").read_text())["samples_seen"] == 2 * 4 * (32 + 10)
    with (trained[arm] / "csv" / "fit" / "metrics.csv").open() as file:
        shares = {row["train/clutter_share"] for row in csv.DictReader(file)} - {""}
    assert [float(share) for share in shares] == [pytest.approx(10 / 42)]


def test_both_arms_are_compared_and_read_again(trained: dict[str, Path]) -> None:
    assert differences(trained, ARMS) == []
    for arm, run in trained.items():
        assert "clutter" not in yaml.safe_load((run / "recipe.fit.yaml").read_text())["model"]["init_args"]
        module = TrainedRun.load(str(run)).module
        assert module.clutter
        assert isinstance(module, Classifier) == (arm == "softmax") == (module.reject_head() is not None)


def test_the_reject_class_is_a_score_to_choose_of_the_arm_that_has_one(trained: dict[str, Path]) -> None:
    for arm, run in trained.items():
        assert ("reject" in TrainedRun.load(str(run)).gallery.choice.aurocs) == (arm == "softmax")


def test_one_arm_with_clutter_is_unfair(trained: dict[str, Path], runs: dict[str, Path]) -> None:
    main(["test", "--run", str(runs["softmax"])])
    found = differences({"softmax": runs["softmax"], "triplet": trained["triplet"]}, ARMS)
    assert "data.ood_train.0: softmax has None, triplet has background" in found
    assert "samples seen: softmax has 256, triplet has 336" in found


@pytest.mark.slow
@pytest.mark.parametrize("arm", ARMS)
def test_two_ranks_give_what_one_gives(words: list[str], tmp_path: Path, arm: str) -> None:
    kept = [word for word in arm_words(words, arm)[:-1] if "encoder.backbone" not in word and "samples_per" not in word]
    model = [f"--model.init_args.encoder.backbone_args={NO_BATCH_NORM}", "--tracking.wandb=disabled"]
    common = ["fit", *kept, *CLUTTER, *model, f"--runs_root={tmp_path}"]
    one = main([*common, "--name=one", "--data.samples_per_class=8", "--data.clutter_per_batch=12"])
    ranks = ["--trainer.strategy=ddp_fork", "--trainer.devices=2"]
    two = main([*common, "--name=two", *ranks, "--data.samples_per_class=4", "--data.clutter_per_batch=6"])
    weights = [torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for run in (one, two)]
    for name, tensor in weights[0].items():
        assert torch.allclose(tensor, weights[1][name], atol=1e-3), name
    facts = [json.loads((run / "facts.json").read_text())["samples_seen"] for run in (one, two)]
    assert facts == [2 * 4 * 44] * 2
