"""Lets megadetector-utils write the made-up data set: from its COCO form to MegaDetector's, and from there on."""

import json

from megadetector.data_management.cct_to_md import cct_to_md
from megadetector.data_management.coco_to_labelme import coco_to_labelme
from megadetector.data_management.coco_to_yolo import coco_to_yolo
from megadetector.data_management.labelme_to_coco import labelme_to_coco
from megadetector.postprocessing.md_to_coco import md_to_coco
from megadetector.postprocessing.md_to_labelme import md_to_labelme

from made_set import FRAMES, LABELS, OUT, copy_frames

images, annotations = [], []
for number, frame in enumerate(FRAMES):
    images.append(
        {"id": number, "file_name": frame["file"], "location": "", **{k: frame[k] for k in ("width", "height")}}
    )
    for box in frame["boxes"]:
        sides = [box[name] for name in ("x", "y", "width", "height")]
        category = LABELS.index(box["label"]) + 1
        identity = len(annotations)
        annotation = {"id": identity, "image_id": number, "category_id": category, "bbox": sides, "score": box["score"]}
        annotations.append(annotation)
categories = [{"id": number, "name": label} for number, label in enumerate(LABELS, start=1)]
given = OUT / "given.json"
for name in ("megadetector", "labelme", "coco_to_labelme", "coco", "coco_of_labelme"):
    copy_frames(OUT / name)
given.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}), encoding="utf-8")

detections = str(OUT / "megadetector" / "detections.json")
cct_to_md(str(given), detections)
md_to_labelme(detections, str(OUT / "labelme"))
coco_to_labelme(str(given), str(OUT / "coco_to_labelme"))
md_to_coco(
    detections,
    str(OUT / "coco" / "boxes.json"),
    image_folder=str(OUT / "coco"),
    confidence_threshold=0.0,
    preserve_nonstandard_metadata=True,
)
coco_to_labelme(str(given), str(OUT / "coco_of_labelme"))
labelme_to_coco(str(OUT / "coco_of_labelme"), str(OUT / "coco_of_labelme" / "boxes.json"))
for frame in (OUT / "coco_of_labelme").glob("*/*.json"):
    frame.unlink()
coco_to_yolo(str(OUT / "megadetector"), str(OUT / "yolo"), str(given), create_image_and_label_folders=True)
