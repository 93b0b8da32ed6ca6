"""Every layout is recognised as itself and as nothing else, by folder and by file; the rest is refused by name."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from dml_lightning.data.sources import CropFolders
from dml_lightning.data.sources.recognise import read_source, recognise
from tests.data.sources.making import BOX, needs, picture, save_json, text
from tests.data.sources.samples import SAMPLES, SIDES, YOLO_ROW, frames

LAYOUTS = sorted({layout for layout, _ in SAMPLES.values()})


@pytest.mark.parametrize("name", SAMPLES)
def test_each_sample_is_itself_and_nothing_else(tmp_path: Path, name: str) -> None:
    layout, build = SAMPLES[name]
    file = build(tmp_path)
    for path in filter(None, (tmp_path, file)):
        source, taken_for = recognise(path)
        assert [other for other in LAYOUTS if taken_for.startswith(other)] == [layout]
        assert not isinstance(source, CropFolders)


@pytest.mark.parametrize("name", SAMPLES)
def test_each_sample_is_read_right(tmp_path: Path, name: str) -> None:
    layout, build = SAMPLES[name]
    file = build(tmp_path)
    for path in filter(None, (tmp_path, file)):
        reading = read_source(path)
        np.testing.assert_allclose(reading.table[BOX], [SIDES], atol=1e-9)
        expected = {"hu": "waterfowl", "coco_results": "category 1"}.get(name, "mallard")
        assert reading.table["label"].tolist() == [expected]
        assert len(reading.frames) == 2, "a frame without a box is one that was flown"
        assert reading.unused.empty
        assert str(reading.report).startswith(f"1 boxes in 2 frames, read as {layout}")
        assert ("score" in reading.table) == (name in ("coco_results", "megadetector", "deepforest"))


@pytest.mark.parametrize("first", SAMPLES)
@pytest.mark.parametrize("second", SAMPLES)
def test_two_layouts_in_one_folder_are_ambiguous(tmp_path: Path, first: str, second: str) -> None:
    """Or one folder of frames with two opinions on them: never one of them at random."""
    if first >= second or {first, second} <= {"yolo", "yolo_classes", "yolo_names"}:
        return
    for name in (first, second):
        SAMPLES[name][1](tmp_path / name)
        shutil.copytree(tmp_path / name, tmp_path / "both", dirs_exist_ok=True)
    if SAMPLES[first][0] == SAMPLES[second][0]:
        return
    with pytest.raises(ValueError, match="may be ") as error:
        recognise(tmp_path / "both")
    assert all(SAMPLES[name][0] in str(error.value) for name in (first, second))


def test_folders_of_crops(tmp_path: Path) -> None:
    for name in ("mallard/f1/a.png", "teal/b.png"):
        picture(tmp_path / name)
    text(tmp_path / "README.txt", "crops")
    reading = read_source(tmp_path)
    assert reading.table["label"].tolist() == ["mallard", "teal"]
    assert reading.report.layout == "read as folders of crops, 2 pictures"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"info": {}, "categories": {"label": {}}, "items": []}, r"is datumaro's own JSON: convert it to COCO"),
        ({"type": "FeatureCollection", "features": []}, r"is GeoJSON: its places are on the map"),
        ([{"image": "a.png", "annotations": [{"label": "x", "coordinates": {}}]}], "is CreateML JSON: export it"),
        ({"_via_img_metadata": {}}, "is a project of the VGG Image Annotator"),
        ([{"image": "a.png", "id": 1, "annotator": 2, "created_at": ""}], "is Label Studio's JSON-MIN: export it as"),
        ({"a": 1}, "is none of the layouts that can be read: expected a data config"),
        ([], "is none of the layouts"),
        ("x", "is none of the layouts"),
    ],
)
def test_json_of_another_kind(tmp_path: Path, content: object, message: str) -> None:
    file = save_json(tmp_path / "x.json", content)
    with pytest.raises(ValueError, match=message):
        recognise(file)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xml", "<dataset/>", "is none of the layouts"),
        ("a.xml", "<annotation><object><polygon/></object></annotation>", r"a\.xml is XML of the old LabelMe web tool"),
        ("a.xml", "<!DOCTYPE a><annotation/>", "has a document type definition"),
        ("a.zip", "PK", "is none of the layouts"),
        ("a.txt", YOLO_ROW, "is none of the layouts"),
        ("a.yaml", "nc: 2", "has neither `data: source:` of a data config nor `names:`"),
        ("a.yaml", "- duck", "holds a list, expected `data: source:`"),
        ("a.yaml", "names: [", "is no valid YAML"),
        ("a.yaml", "data: {source: {class_path: nothing.There}}", r"a\.yaml: "),
        (
            "a.csv",
            "picture,left\n",
            r"has no column \['frame', 'x', 'y', .*, but \['picture', 'left'\]",
        ),
    ],
)
def test_files_of_another_kind(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        read_source(text(tmp_path / name, content))
    assert "\n" not in str(error.value)


def test_no_such_path(tmp_path: Path) -> None:
    """Named by itself: in some commands it is that of `--data`, in others of `--crops`."""
    with pytest.raises(ValueError, match=rf"^{tmp_path}/no\.json is neither a file nor a folder"):
        read_source(tmp_path / "no.json")
    with pytest.raises(ValueError, match=f"^{tmp_path} is none of the layouts"):
        read_source(tmp_path)  # empty


def test_labels_without_names_of_classes_are_no_folder_of_crops(tmp_path: Path) -> None:
    for place in ("labels", "images"):
        root = tmp_path / place
        frames(root, "images")
        text(root / place / "a.txt", YOLO_ROW)
        with pytest.raises(ValueError, match=r"has files such as .*a\.txt beside its frames .*data\.yaml or classes"):
            read_source(root)


@pytest.mark.parametrize("folder", ["images", "JPEGImages", "labels", "obj_train_data"])
def test_folders_of_an_annotated_set_are_no_classes(tmp_path: Path, folder: str) -> None:
    frames(tmp_path, folder)
    with pytest.raises(ValueError, match=f"has the folder {folder} of an annotated set, which names no class"):
        read_source(tmp_path)


def test_splits_of_crops_are_no_classes(tmp_path: Path) -> None:
    for name in ("train/mallard/a.png", "val/mallard/b.png"):
        picture(tmp_path / name)
    with pytest.raises(ValueError, match=r"has the folders \['train', 'val'\], which are splits and no classes"):
        read_source(tmp_path)
    assert read_source(tmp_path / "train").table["label"].tolist() == ["mallard"]


def test_results_take_the_images_of_the_json_beside_them(tmp_path: Path) -> None:
    SAMPLES["coco"][1](tmp_path)
    results = [{"image_id": 1, "category_id": 1, "bbox": SIDES, "score": 0.5}]
    file = save_json(tmp_path / "predictions.json", results)
    reading = read_source(file)
    assert reading.table["label"].tolist() == ["mallard"]
    assert reading.report.layout == "read as COCO results (predictions.json, images of boxes.json)"
    with pytest.raises(ValueError, match="may be COCO JSON"):
        read_source(tmp_path)
    save_json(tmp_path / "other.json", {"images": [], "annotations": [], "categories": []})
    with pytest.raises(ValueError, match="2 COCO JSON files lie beside it"):
        read_source(file)


def test_scores_and_empty_flights(tmp_path: Path) -> None:
    file = SAMPLES["megadetector"][1](tmp_path)
    assert len(read_source(file, min_score=0.5).table) == 1
    with pytest.raises(ValueError, match="No usable box"):
        read_source(file, min_score=0.95)
    reading = read_source(file, min_score=0.95, allow_empty=True)
    assert reading.table.empty
    assert len(reading.frames) == 2


def test_columns_of_a_table_that_may_be_missing(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    header = "frame,x,y,width,height,label,flight,score"
    file = text(tmp_path / "b.csv", f"{header}\na.png,1,2,3,4,NA,,\n")
    reading = read_source(file)
    assert reading.table["label"].tolist() == ["NA"]
    assert reading.table["group"].tolist() == [tmp_path.name]
    assert "score" not in reading.table
    text(tmp_path / "b.csv", f"{header}\na.png,1,2,3,4,,dawn,0.5\n")
    reading = read_source(file)
    assert reading.table[["label", "group", "score"]].to_numpy().tolist() == [["unlabelled", "dawn", 0.5]]


def test_a_config_and_a_recipe_name_their_source(tmp_path: Path) -> None:
    file = SAMPLES["megadetector"][1](tmp_path)
    init = {"root": str(tmp_path), "file": file.name}
    source = {"class_path": "dml_lightning.data.sources.MegaDetector", "init_args": init}
    for content in ({"data": {"source": source, "known": None}}, {"source": source}):
        reading = read_source(save_json(tmp_path / "config.yaml", content))
        assert reading.report.layout == "read as MegaDetector as config.yaml says"


def test_a_config_that_is_large_once_parsed(tmp_path: Path) -> None:
    lines = ["n0: &n0 [x]", *(f"n{n}: &n{n} [*n{n - 1}, *n{n - 1}]" for n in range(1, 30))]
    with pytest.raises(ValueError, match="once its aliases are followed"):
        read_source(text(tmp_path / "config.yaml", "\n".join(lines)))


def test_real_sets() -> None:
    cheetahs = read_source(needs("thermal_cheetah"))
    assert str(cheetahs.report).startswith("231 boxes in 129 frames, read as a YOLO set (data.yaml)")
    ducks = read_source(needs("hu_waterfowl"))
    assert ducks.report.layout == "read as the waterfowl imagery of Hu et al."
    root = needs("hit_uav")
    with pytest.raises(ValueError, match=r"may be Pascal VOC XML \(Annotations\) or COCO JSON \(val\.json\)"):
        read_source(root)
    coco, voc = read_source(root / "val.json"), read_source(next((root / "Annotations").glob("*.xml")))
    assert len(coco.table) == len(voc.table) == 2460
    assert coco.frames.equals(voc.frames)
