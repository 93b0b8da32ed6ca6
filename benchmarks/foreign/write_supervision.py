"""Lets supervision write the made-up data set."""

import numpy as np
import supervision as sv

from made_set import FRAMES, LABELS, OUT, ROOT, copy_frames, corners

annotations = {}
for frame in FRAMES:
    boxes = frame["boxes"]
    annotations[str(ROOT / frame["file"])] = sv.Detections(
        xyxy=np.array([corners(box) for box in boxes]).reshape(-1, 4),
        class_id=np.array([LABELS.index(box["label"]) for box in boxes], dtype=int),
    )
data = sv.DetectionDataset(LABELS, list(annotations), annotations)
data.as_yolo(f"{OUT}/yolo/images", f"{OUT}/yolo/labels", f"{OUT}/yolo/data.yaml")
data.as_pascal_voc(f"{OUT}/voc/JPEGImages", f"{OUT}/voc/Annotations")
data.as_coco(f"{OUT}/coco/images", f"{OUT}/coco/annotations.json")
data.as_labelme(f"{OUT}/labelme", f"{OUT}/labelme")
copy_frames(OUT / "csv")
with sv.CSVSink(f"{OUT}/csv/boxes.csv") as sink:
    for frame, found in zip(FRAMES, annotations.values(), strict=True):
        names = [LABELS[number] for number in found.class_id]
        found.confidence = np.array([box["score"] for box in frame["boxes"]])
        sink.append(found, {"frame": frame["file"], "name": names})
