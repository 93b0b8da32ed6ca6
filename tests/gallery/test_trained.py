"""What a finished run is made ready from: its recipe, its options, its data, its device."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from dml_lightning.data.crops import CropOptions
from dml_lightning.data.frames import Radiometry
from dml_lightning.data.sources.recognise import _filled_columns, read_source
from dml_lightning.gallery import trained
from dml_lightning.models import SoftmaxModule, TripletModule
from dml_lightning.types import Batch
from tests import ROOT
from tests.models.small import Blobs, make


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((40, 50), 120, np.uint8)).save(path)


def test_a_device_that_is_not_there_is_refused() -> None:
    trained.check_device("cpu")
    with pytest.raises(ValueError, match=r"--device abacus cannot be used here \(.*\); cpu always can\."):
        trained.check_device("abacus")


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a run's folder"):
        trained.TrainedRun.load(str(tmp_path))


def test_a_run_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no checkpoint best\.ckpt: its fit has not come that far"):
        trained._load_module(tmp_path, {"init_args": {}}, 3, {})


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda recipe: recipe.pop("model"), "is damaged: it has no section model"),
        (lambda recipe: recipe.pop("data"), "is damaged: it has no section data"),
        (lambda recipe: recipe["model"].pop("init_args"), "describes no model of this version: .*encoder"),
        (lambda recipe: recipe["model"]["init_args"].update(what=1), "describes no model .*'what' is not accepted$"),
        (lambda recipe: recipe["data"].update(radiometry={"a": 1}), "has no crop options of this version: .*'a'"),
    ],
)
def test_a_recipe_with_other_settings_than_were_written_is_named(
    tmp_path: Path, edit: Callable[[dict[str, Any]], object], said: str
) -> None:
    run = shutil.copytree(ROOT / "tests" / "old_files" / "run_of_0_1", tmp_path / "run")  # without digests
    path = run / "recipe.fit.yaml"
    recipe = yaml.safe_load(path.read_text())
    edit(recipe)
    path.write_text(yaml.safe_dump(recipe))
    with pytest.raises(ValueError, match=rf"recipe\.fit\.yaml {said}"):
        trained.TrainedRun.load(str(run))


def test_embeddings_are_those_of_the_module_batch_by_batch() -> None:
    crops = Blobs(5)
    batches = [
        Batch(crops.images[part], crops.labels[part], crops.index[part], torch.empty(0))
        for part in (slice(3), slice(3, 5))
    ]
    for arm in (SoftmaxModule, TripletModule):
        module = make(arm).eval()
        parts = list(trained.embed(module, iter(batches), "cpu"))
        assert [len(part) for part in parts] == [3, 2]
        with torch.no_grad():
            expected = module(crops.images)
        torch.testing.assert_close(torch.cat([part.vectors for part in parts]), expected)
        assert [part.logits is not None for part in parts] == 2 * [arm is SoftmaxModule]
        assert torch.cat([part.index for part in parts]).tolist() == crops.index.tolist()


def test_the_batches_of_an_unsorted_table_are_sorted() -> None:
    crops, order = Blobs(5), torch.tensor([3, 0, 4, 1, 2])
    module = make(SoftmaxModule).eval()
    batch = Batch(crops.images[order], crops.labels[order], crops.index[order], torch.empty(0))
    (part,) = trained.embed(module, iter([batch]), "cpu")
    assert part.index.tolist() == crops.index.tolist()
    assert part.labels.tolist() == crops.labels.tolist()
    with torch.no_grad():
        torch.testing.assert_close(part.vectors, module(crops.images))
        torch.testing.assert_close(part.logits, module.compute_logits(module(crops.images)))


def test_crop_options_are_those_of_the_data_section() -> None:
    data = {
        "crop_size": 32,
        "normalisation": "window",
        "window": [10, 25],
        "radiometry": {"gain": 0.01, "offset": -273.15},
        "classes_per_batch": 4,
    }
    expected = CropOptions(crop_size=32, normalisation="window", window=(10, 25), radiometry=Radiometry(0.01, -273.15))
    assert trained.crop_options(data) == expected
    assert trained.crop_options({}) == CropOptions()


def test_a_data_set_is_read_by_the_kind_of_its_file(tmp_path: Path) -> None:
    picture(tmp_path / "frames" / "a.png")
    picture(tmp_path / "crops" / "coot" / "1.png")
    lines = ["frame,x,y,width,height", "a.png,5,6,7,8", "a.png,20,6,7,8"]
    (tmp_path / "frames" / "boxes.csv").write_text("\n".join(lines))
    init = {"root": str(tmp_path / "frames"), "file": "boxes.csv", "label_column": None, "group_column": None}
    source = {"class_path": "dml_lightning.data.sources.CsvTable", "init_args": init}
    (tmp_path / "data.yaml").write_text(yaml.safe_dump({"data": {"source": source}}))
    boxes = read_source(tmp_path / "frames" / "boxes.csv").table
    assert boxes["x"].tolist() == [5, 20]
    assert read_source(tmp_path / "data.yaml").table.equals(boxes)
    assert read_source(tmp_path / "crops").table["label"].tolist() == ["coot"]


def test_columns_that_say_nothing_are_as_if_they_were_not_there(tmp_path: Path) -> None:
    table = tmp_path / "boxes.csv"
    table.write_text("frame,x, label ,flight\na,1,,dawn\nb,2,,\n")
    assert _filled_columns(table, ",", ("label", "flight")) == {"flight"}
    table.write_text("frame,x\na,1\n")
    assert _filled_columns(table, ",", ("label", "flight")) == set()
