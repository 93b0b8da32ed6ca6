"""Every file in configs/ is fitted, tested or compared here, on small data."""

from pathlib import Path

import pandas as pd
import pytest
import yaml

from dml_lightning.cli import main
from dml_lightning.commands import compare as command
from dml_lightning.gallery.trained import TrainedRun
from dml_lightning.stats.paired import units_needed
from tests import ROOT
from tests.end_to_end.layouts import LAYOUTS

CONFIGS = ROOT / "configs"
OWN_DATA = ("csv", "coco", "voc", "yolo")


def named(folder: str) -> list[str]:
    return sorted(path.stem for path in (CONFIGS / folder).glob("*.yaml"))


def short(words: list[str], tmp_path: Path) -> list[str]:
    """Two steps of training and evaluation, nothing written."""
    return [*words, "--trainer.fast_dev_run=2", f"--runs_root={tmp_path}"]


def test_no_config_is_forgotten() -> None:
    assert {path.name for path in CONFIGS.iterdir()} == {"base.yaml", "data", "experiment", "model", "sweep", "trainer"}
    assert set(named("data")) == {"simulated", "sizes", *LAYOUTS}


def test_sizes_stand_beside_the_pixels_of_simulated_crops(words: list[str], tmp_path: Path) -> None:
    configs = [f"--config={CONFIGS}/{name}.yaml" for name in ("data/sizes", "model/triplet")]
    run = main(
        ["fit", *words, *configs, f"--runs_root={tmp_path}", "--trainer.max_epochs=1", "--tracking.wandb=disabled"]
    )
    assert TrainedRun.load(run).module.encoder.side_inputs == 3


@pytest.mark.parametrize("model", named("model"))
def test_models(words: list[str], tmp_path: Path, model: str) -> None:
    config = f"--config={CONFIGS}/model/{model}.yaml"
    settings = yaml.safe_load((CONFIGS / "model" / f"{model}.yaml").read_text())
    if model == "linear_probe":  # its weights would be downloaded
        words = [word for word in words if "backbone_args" not in word]
        small = [f"--model.init_args.encoder.{option}" for option in ("backbone=test_convnext", "pretrained=false")]
        main(["fit", *short(words, tmp_path), config, *small])
    elif "encoder" in settings["model"].get("init_args", {}):  # a floor without an encoder to set
        words = [word for word in words if "init_args.encoder" not in word]
        main(["test", *short(words, tmp_path), config, "--ckpt_path=none"])
    elif model == "untrained":
        main(["test", *short(words, tmp_path), config, "--ckpt_path=none"])
    else:
        main(["fit", *short(words, tmp_path), config])


# the sets written here are smaller than a batch of the real ones
small_sets = pytest.mark.filterwarnings("ignore:Fewer than .* training crops")


@small_sets
@pytest.mark.parametrize("layout", sorted(LAYOUTS))
@pytest.mark.parametrize("arm", ["softmax", "triplet"])
def test_data(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], layout: str, arm: str) -> None:
    LAYOUTS[layout](tmp_path / "data")
    simulated = ("--config", "--data")
    settings = [word for word in words if not word.startswith(simulated)]
    data = [
        f"--config={CONFIGS}/base.yaml",
        f"--config={CONFIGS}/data/{layout}.yaml",
        f"--config={CONFIGS}/model/{arm}.yaml",
        f"--data.source.init_args.root={tmp_path}/data",
        f"--data.cache_dir={tmp_path}/cache",
        *(["--data.classes_per_batch=4"] if layout == "omniglot" else []),  # few characters here
    ]
    command = [*data, *short(settings, tmp_path / "runs")]
    if layout == "hu_waterfowl":  # one class
        with pytest.raises(SystemExit, match="2"):
            main(["fit", *command])
        assert "at least 2 known classes" in capsys.readouterr().err
        main(["test", *command, "--ckpt_path=none"])
    else:
        main(["fit", *command])


def test_configs_of_own_data_differ_in_their_source_alone() -> None:
    read = [yaml.safe_load((CONFIGS / "data" / f"{name}.yaml").read_text()) for name in OWN_DATA]
    assert len({config["data"].pop("source")["class_path"] for config in read}) == len(OWN_DATA)
    assert all(config == read[0] for config in read)


@pytest.mark.parametrize("trainer", named("trainer"))
def test_trainers(words: list[str], tmp_path: Path, trainer: str) -> None:
    """On one CPU process, since the test machine has no GPU: everything else as the file says."""
    here = ["--trainer.accelerator=cpu", "--trainer.devices=1", "--trainer.strategy=auto"]
    plain = ["--model.init_args.compile=false", "--trainer.sync_batchnorm=false"]
    config = f"--config={CONFIGS}/trainer/{trainer}.yaml"
    main(["fit", *short(words, tmp_path), config, *here, *plain])


@pytest.mark.parametrize("experiment", named("experiment"))
def test_experiments_are_fair_as_planned(
    experiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Up to the point where runs would start, with enough units to show a difference."""
    asked = yaml.safe_load((CONFIGS / "experiment" / f"{experiment}.yaml").read_text())
    tested = sum(arm.get("train", True) for arm in asked["arms"].values()) - 1
    units = asked[asked.get("unit", "seed") + "s"]
    assert len(units) >= units_needed(comparisons=tested) or experiment == "demo"

    def run_all(*given: object) -> None:
        raise ValueError("Here runs would start.")

    monkeypatch.setattr(command, "run_all", run_all)
    monkeypatch.chdir(tmp_path)  # where all files come from the package
    with pytest.raises(SystemExit):
        main(["compare", f"--config=experiment/{experiment}", f"--out={tmp_path}"])
    assert "Here runs would start." in capsys.readouterr().err


@small_sets
def test_the_real_data_experiment(words: list[str], tmp_path: Path) -> None:
    LAYOUTS["hit_uav"](tmp_path / "data")
    tiny = [word for word in words if "encoder.embedding_dim" in word or "--trainer" in word]
    overrides = [
        *tiny,
        f"--data.source.init_args.root={tmp_path}/data",
        f"--data.cache_dir={tmp_path}/cache",
        "--trainer.max_epochs=1",
        "--data.batches_per_epoch=1",
    ]
    settings = yaml.safe_load((CONFIGS / "experiment" / "hit_uav.yaml").read_text())
    arms = {name: settings["arms"][name] for name in ("raw pixels", "softmax", "triplet")}
    folder = main(
        [
            "compare",
            f"--config={CONFIGS}/experiment/hit_uav.yaml",
            f"--arms={arms}",
            "--seeds=[0]",
            f"--overrides={[word for word in overrides if 'embedding' not in word]}",
            f"--out={tmp_path}/runs",
        ]
    )
    table = pd.read_csv(folder / "comparison.csv")
    assert table["arm"].tolist() == ["raw pixels", "softmax", "triplet"]
    assert table["ood_auroc_OtherVehicle"].notna().all()
