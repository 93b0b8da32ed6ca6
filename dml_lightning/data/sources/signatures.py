"""Signatures of annotation files: the layouts that annotation tools write, recognised by content."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from dml_lightning.data.sources.csv_table import BOX_FORMATS, read_header
from dml_lightning.data.sources.labelme import is_labelme
from dml_lightning.data.sources.parse import parse_json, read_xml
from dml_lightning.yaml_files import read_yaml

COCO, COCO_RESULTS, LABELME, LABEL_STUDIO, MEGADETECTOR = (
    "COCO JSON",
    "COCO results",
    "LabelMe JSON",
    "Label Studio JSON",
    "MegaDetector JSON",
)
VOC, CVAT, YOLO, CSV = "Pascal VOC XML", "CVAT XML", "a YOLO set", "a table of boxes"
FRAME_COLUMNS = ("frame", "image_path", "filename", "file_name")
CSV_BOX_COLUMNS = {form: BOX_FORMATS[form] for form in ("xyxy", "xywh")}  # the first that fits


def _lists(content: Any, *keys: str) -> bool:
    return isinstance(content, dict) and any(isinstance(content.get(key), list) for key in keys)


def _listed(*keys: str) -> Callable[[Any], bool]:
    """Returns a test for lists whose first object has all of the keys ("a|b" for either)."""

    def matches(content: Any) -> bool:
        first = content[0] if isinstance(content, list) and content else None
        return isinstance(first, dict) and all(any(key in first for key in each.split("|")) for each in keys)

    return matches


SIGNATURES: Mapping[str, Callable[[Any], bool]] = {
    LABELME: is_labelme,
    COCO: lambda c: _lists(c, "images", "image") and _lists(c, "annotations", "annotation"),
    MEGADETECTOR: lambda c: _lists(c, "images") and isinstance(c.get("detection_categories"), dict),
    COCO_RESULTS: _listed("bbox", "image_id|file_name", "score"),
    LABEL_STUDIO: _listed("data", "annotations|completions|predictions"),
}
# Layouts that are recognised but not read: name -> signature, and advice to the user.
REFUSED: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "datumaro's own JSON": (
        lambda c: _lists(c, "items") and isinstance(c.get("categories"), dict),
        "convert it to COCO (datumaro: `convert -f coco`)",
    ),
    "Label Studio's JSON-MIN": (_listed("annotation_id|annotator", "created_at|lead_time"), "export it as JSON"),
    "CreateML JSON": (_listed("annotations", "image|imagefilename"), "export it as COCO"),
    "a project of the VGG Image Annotator": (
        lambda c: isinstance(c, dict) and "_via_img_metadata" in c,
        "export its annotations as COCO",
    ),
    "GeoJSON": (
        lambda c: isinstance(c, dict) and c.get("type") == "FeatureCollection",
        "its places are on the map and not in frames: export boxes in px as CSV",
    ),
}


def json_kind(file: Path) -> str:
    """Returns the layout of a JSON file, which may be one of `REFUSED`, or "" where no signature fits.

    Raises:
        ValueError: The file is no JSON.
    """
    content = parse_json(file)
    tests = {**SIGNATURES, **{name: test for name, (test, _) in REFUSED.items()}}
    return next((name for name, test in tests.items() if test(content)), "")


def xml_kind(file: Path) -> str:
    """Returns the layout of an XML file by its first element, or "" for another one.

    Raises:
        ValueError: The file is no XML, or is one of the old LabelMe web tool, which begins like Pascal VOC.
    """
    root: Element = read_xml(file)
    if root.find("object/polygon") is not None and root.find("object/bndbox") is None:
        raise ValueError(f"{file} is XML of the old LabelMe web tool, whose objects are polygons: convert it to COCO.")
    return {"annotation": VOC, "annotations": CVAT}.get(root.tag, "")


def is_yolo(file: Path) -> bool:
    """Whether a YAML file names the classes of a YOLO set.

    Raises:
        ValueError: The file is no YAML.
    """
    return names_classes(read_yaml(file, texts=["names"]))


def names_classes(content: Any) -> bool:
    """Whether parsed YAML names the classes of a YOLO set, and is no config of a source.

    >>> names_classes({"names": ["mallard"]}), names_classes({"source": {}, "names": []})
    (True, False)
    """
    return isinstance(content, dict) and "names" in content and "source" not in content


def csv_form(file: Path) -> tuple[str, str, str] | None:
    """Returns delimiter, column of the frame and box format of a table with the usual columns; None for another."""
    for delimiter in ",;\t":
        columns = read_header(file, delimiter)
        frame = next((name for name in FRAME_COLUMNS if name in columns), None)
        form = next((form for form, names in CSV_BOX_COLUMNS.items() if set(names) <= set(columns)), None)
        if frame and form:
            return delimiter, frame, form
    return None
