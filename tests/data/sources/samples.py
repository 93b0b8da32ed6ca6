"""One small data set of each layout, with one box of a mallard in the first of two frames."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.data.sources.making import picture, save_json, text

SIZE = {"width": 100, "height": 80}
SIDES = [40, 20, 10, 8]  # of the box, px
YOLO_ROW = "0 .45 .3 .1 .1\n"  # the same


def frames(root: Path, below: str = "f1") -> list[str]:
    names = [f"{below}/{stem}.png".removeprefix("/") for stem in ("a", "b")]
    for name in names:
        picture(root / name)
    return names


def coco_content(names: list[str]) -> dict[str, Any]:
    return {
        "images": [{"id": number, "file_name": name, **SIZE} for number, name in enumerate(names)],
        "annotations": [{"id": 0, "image_id": 0, "category_id": 1, "bbox": SIDES}],
        "categories": [{"id": 1, "name": "mallard"}],
    }


def coco(root: Path) -> Path:
    return save_json(root / "boxes.json", coco_content(frames(root)))


def coco_itself(root: Path) -> None:
    names = frames(root / "images" / "train", "")
    save_json(root / "annotations" / "instances_train.json", coco_content(names))
    save_json(root / "annotations" / "captions_train.json", coco_content(names))


def coco_results(root: Path) -> Path:
    frames(root, "f1")
    return save_json(root / "predictions.json", [{"image_id": "a", "category_id": 1, "bbox": SIDES, "score": 0.9}])


def labelme(root: Path) -> Path:
    for name in frames(root):
        corners = [[40, 20], [50, 28]]
        shapes = [{"label": "mallard", "points": corners, "shape_type": "rectangle"}] if name.endswith("a.png") else []
        content = {"version": "5.4.1", "imagePath": Path(name).name, "imageData": None, "shapes": shapes}
        last = save_json((root / name).with_suffix(".json"), content)
    return last


def label_studio(root: Path) -> Path:
    value = {"x": 40, "y": 25, "width": 10, "height": 10, "rotation": 0, "rectanglelabels": ["mallard"]}
    size = {"original_width": 100, "original_height": 80}
    region = {"id": "x", "type": "rectanglelabels", "value": value, **size}
    results = [[region], []]
    tasks = [
        {"id": n, "data": {"image": f"/data/local-files/?d={name}"}, "annotations": [{"id": n, "result": result}]}
        for n, (name, result) in enumerate(zip(frames(root), results, strict=True))
    ]
    return save_json(root / "project.json", tasks)


def megadetector(root: Path) -> Path:
    first, second = frames(root)
    found = [{"category": "1", "conf": 0.9, "bbox": [0.4, 0.25, 0.1, 0.1]}]
    images = [{"file": first, "detections": found}, {"file": second, "detections": []}]
    return save_json(root / "md.json", {"images": images, "detection_categories": {"1": "mallard"}, "info": {}})


def cvat(root: Path) -> Path:
    first, second = frames(root, "images")
    box = '<box label="mallard" xtl="40" ytl="20" xbr="50" ybr="28"/>'
    size = 'width="100" height="80"'
    images = f'<image id="0" name="{first}" {size}>{box}</image><image id="1" name="{second}" {size}/>'
    return text(root / "annotations.xml", f"<annotations><version>1.1</version>{images}</annotations>")


def voc_xml(name: str, full: bool) -> str:
    corners = "<xmin>40</xmin><ymin>20</ymin><xmax>50</xmax><ymax>28</ymax>"
    entry = f"<object><name>mallard</name><bndbox>{corners}</bndbox></object>" if full else ""
    return f"<annotation><filename>{name}</filename>{entry}</annotation>"


def voc(root: Path) -> Path:
    for name in frames(root, "JPEGImages"):
        stem = Path(name).stem
        last = text(root / "Annotations" / f"{stem}.xml", voc_xml(Path(name).name, stem == "a"))
    return last


def voc_beside(root: Path) -> Path:
    for name in frames(root, ""):
        last = text(root / f"{Path(name).stem}.xml", voc_xml(name, name == "a.png"))
    return last


def yolo(root: Path) -> Path:
    frames(root, "train/images")
    text(root / "train" / "labels" / "a.txt", YOLO_ROW)
    return text(root / "data.yaml", "train: train/images\nnames: [mallard]\n")


def yolo_classes(root: Path) -> Path:
    frames(root, "images")
    text(root / "labels" / "a.txt", YOLO_ROW)
    save_json(root / "notes.json", {"categories": [], "info": {}})  # as Label Studio adds it
    return text(root / "classes.txt", "mallard\n")


def yolo_names(root: Path) -> Path:
    frames(root, "obj_train_data")
    text(root / "obj_train_data" / "a.txt", YOLO_ROW)
    text(root / "train.txt", "data/obj_train_data/a.png\ndata/obj_train_data/b.png\n")
    return text(root / "obj.names", "mallard\n")


def table(root: Path) -> Path:
    first, second = frames(root)
    return text(root / "boxes.csv", f"frame,x,y,width,height,label\n{first},40,20,10,8,mallard\n{second},,,,,\n")


def deepforest(root: Path) -> Path:
    first, second = frames(root)
    rows = f"{first};40;20;50;28;mallard;0.9\n{second};;;;;;\n"
    return text(root / "boxes.csv", "image_path;xmin;ymin;xmax;ymax;label;score\n" + rows)


def hu(root: Path) -> None:
    base = root / "01_Thermal Images and Ground Truth (used for detector training and testing)"
    picture(base / "01_Posistive Image" / "20180322_a.tif")
    picture(base / "03_Negative Images" / "20180322_b.tif")
    rows = "imageFilename,x(column),y(row),width,height\n20180322_a.tif,40,20,10,8\n"
    text(base / "02_Groundtruth Label for Positive Images" / "Bounding Box Label.csv", rows)


# Layout as the report calls it, and what builds a folder of it; what a builder returns is recognised by itself, too.
SAMPLES: dict[str, tuple[str, Callable[[Path], Path | None]]] = {
    "coco": ("COCO JSON", coco),
    "coco_itself": ("COCO JSON", coco_itself),
    "coco_results": ("COCO results", coco_results),
    "labelme": ("LabelMe JSON", labelme),
    "label_studio": ("Label Studio JSON", label_studio),
    "megadetector": ("MegaDetector JSON", megadetector),
    "cvat": ("CVAT XML", cvat),
    "voc": ("Pascal VOC XML", voc),
    "voc_beside": ("Pascal VOC XML", voc_beside),
    "yolo": ("a YOLO set", yolo),
    "yolo_classes": ("a YOLO set", yolo_classes),
    "yolo_names": ("a YOLO set", yolo_names),
    "table": ("a table of boxes", table),
    "deepforest": ("a table of boxes", deepforest),
    "hu": ("the waterfowl imagery of Hu et al.", hu),
}
