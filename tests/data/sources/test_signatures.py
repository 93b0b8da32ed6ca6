"""Each layout has a signature in its content that no other one has."""

import json
from pathlib import Path

import pytest

from dml_lightning.data.sources.signatures import REFUSED, SIGNATURES, csv_form, is_yolo, json_kind, xml_kind
from tests.data.sources.making import save_json, text
from tests.data.sources.samples import SAMPLES


def test_json_signatures_exclude_each_other(tmp_path: Path) -> None:
    for name in ("coco", "coco_results", "labelme", "label_studio", "megadetector"):
        file = SAMPLES[name][1](tmp_path / name)
        content = json.loads(file.read_text())
        tests = {**SIGNATURES, **{kind: test for kind, (test, _) in REFUSED.items()}}
        assert [kind for kind, test in tests.items() if test(content)] == [SAMPLES[name][0]]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ({"images": [], "annotations": []}, "COCO JSON"),
        ({"images": [], "detection_categories": {}}, "MegaDetector JSON"),
        ({"shapes": [], "imagePath": "a.png"}, "LabelMe JSON"),
        ([{"bbox": [], "file_name": "a.png", "score": 1}], "COCO results"),
        ([{"bbox": [], "file_name": "a.png"}], ""),
        ([{"data": {}, "completions": []}], "Label Studio JSON"),
        ({"type": "FeatureCollection"}, "GeoJSON"),
        ({"images": {}, "annotations": []}, ""),
        ([], ""),
        ("images", ""),
    ],
)
def test_json_is_told_by_its_content(tmp_path: Path, content: object, kind: str) -> None:
    assert json_kind(save_json(tmp_path / "a.json", content)) == kind


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ("<annotation/>", "Pascal VOC XML"),
        ("<annotation><object><polygon/><bndbox/></object></annotation>", "Pascal VOC XML"),
        ("<annotations/>", "CVAT XML"),
        ("<kml/>", ""),
    ],
)
def test_xml_is_told_by_its_first_element(tmp_path: Path, content: str, kind: str) -> None:
    assert xml_kind(text(tmp_path / "a.xml", content)) == kind


def test_polygons_of_the_old_labelme_tool_are_refused(tmp_path: Path) -> None:
    content = "<annotation><object><polygon/></object></annotation>"
    with pytest.raises(ValueError, match=r"a\.xml is XML of the old LabelMe web tool, whose objects are polygons"):
        xml_kind(text(tmp_path / "a.xml", content))


@pytest.mark.parametrize(
    ("content", "expected"),
    [("names: [duck]", True), ("nc: 1", False), ("source: x\nnames: [duck]", False), ("- names", False)],
)
def test_yaml_with_names_and_no_source_is_of_yolo(tmp_path: Path, content: str, expected: bool) -> None:
    assert is_yolo(text(tmp_path / "a.yaml", content)) is expected


@pytest.mark.parametrize(
    ("header", "form"),
    [
        ("frame,x,y,width,height,label", (",", "frame", "xywh")),
        ("label;image_path;xmin;ymin;xmax;ymax", (";", "image_path", "xyxy")),
        ("file_name\tx\ty\twidth\theight\txmin\tymin\txmax\tymax", ("\t", "file_name", "xyxy")),
        ("frame,x,y,width", None),
        ("x,y,width,height", None),
    ],
)
def test_a_table_is_told_by_its_columns(tmp_path: Path, header: str, form: tuple[str, str, str] | None) -> None:
    assert csv_form(text(tmp_path / "a.csv", header + "\n")) == form
