"""Lets globox write the made-up data set."""

from pathlib import Path

from globox import Annotation, AnnotationSet, BoundingBox

from made_set import FRAMES, LABELS, OUT, copy_frames, corners


def annotated(scored: bool) -> AnnotationSet:
    """The data set, with or without scores."""
    return AnnotationSet(
        Annotation(
            frame["file"],
            (frame["width"], frame["height"]),
            [
                BoundingBox.create(label=box["label"], coords=corners(box), confidence=box["score"] if scored else None)
                for box in frame["boxes"]
            ],
        )
        for frame in FRAMES
    )


def folder(name: str, frames: str = ".") -> Path:
    """A folder with the frames, and with their folders for the annotations."""
    copy_frames(OUT / name / frames)
    for frame in FRAMES:
        (OUT / name / "labels" / frame["file"]).parent.mkdir(parents=True, exist_ok=True)
    return OUT / name


plain, scored = annotated(False), annotated(True)
numbers = {label: number for number, label in enumerate(LABELS)}
for name, boxes in (("yolo", plain), ("yolo_scores", scored)):
    place = folder(name, "images")
    (place / "classes.txt").write_text("\n".join(LABELS), encoding="utf-8")
    boxes.save_yolo_v5(place / "labels", label_to_id=numbers)
place = folder("voc", "JPEGImages")
(place / "labels").rename(place / "Annotations")
plain.save_pascal_voc(place / "Annotations")
plain.save_labelme(folder("labelme"))
plain.save_coco(folder("coco", "images") / "boxes.json", auto_ids=True)
scored.save_coco(folder("coco_scores", "images") / "boxes.json", auto_ids=True)
plain.save_cvat(folder("cvat", "images") / "annotations.xml")
scored.save_openimage(folder("open_images") / "boxes.csv")
