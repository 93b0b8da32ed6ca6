"""What a finished run is made ready from: its recipe, its options, its data, its device."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

from dml_lightning.cli import main
from dml_lightning.data.crops import CropOptions
from dml_lightning.data.frames import Radiometry
from dml_lightning.data.sources.recognise import _filled_columns, read_source
from dml_lightning.gallery import trained
from dml_lightning.models import SoftmaxModule, TripletModule
from dml_lightning.types import Batch
from tests import ROOT
from tests.data.making import write_counts
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
        (lambda recipe: recipe["model"]["init_args"].update(what=1), r"describes no model .*'what' is not accepted\.$"),
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


def test_predict_returns_what_the_command_writes(runs: dict[str, Path], flights: Path, tmp_path: Path) -> None:
    data = flights / "annotations.json"
    words = [f"--run={runs['softmax']}", f"--data={data}", "--rule=A", "--neighbours=3"]
    written = pd.read_parquet(main(["predict", *words, f"--out={tmp_path}/out.parquet"]))
    run = trained.TrainedRun.load(runs["softmax"])
    found = run.predict(data, rule="A", neighbours=3)
    pd.testing.assert_frame_equal(found, written)
    boxes = found[["frame", "x", "y", "width", "height", "group"]].assign(frame=flights / found["frame"], ring=7)
    again = run.predict(boxes.sample(frac=1, random_state=0), rule="A", neighbours=3)
    assert (again.pop("ring") == 7).all()
    same = found.columns.difference(["frame", "annotation"])
    pd.testing.assert_frame_equal(again.loc[found.index, same], found[same], atol=1e-5)  # of other batches


def test_what_predict_leaves_out_is_told(runs: dict[str, Path], tmp_path: Path) -> None:
    write_counts(tmp_path / "a.tiff", 0)
    (tmp_path / "bad.tiff").write_bytes((tmp_path / "a.tiff").read_bytes()[:3000])
    rows = [(tmp_path / name, 5, 6, size, 8) for name, size in (("a.tiff", 7), ("a.tiff", 0), ("bad.tiff", 7))]
    table = pd.DataFrame(rows, columns=["frame", "x", "y", "width", "height"], index=["good", "flat", "bad"])
    run = trained.TrainedRun.load(runs["triplet"])
    with pytest.warns(UserWarning, match="box has no area|bad.tiff") as told:
        found = run.predict(table, on_bad_frame="skip")
    assert found.index.tolist() == ["good"]
    assert "skipped 1: box has no area (e.g. row 1 of the table)" in str(told[0].message)
    assert "bad.tiff" in str(told[1].message)
    with pytest.raises(ValueError, match=r"bad\.tiff"):
        run.predict(table)
    with pytest.raises(ValueError, match="there is no rule 'Z'"):
        run.predict(table, rule="Z")
