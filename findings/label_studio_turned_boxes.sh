#!/usr/bin/env bash
# Guess: one rectangle that was turned in Label Studio gives the same upright box in each of its exports.
# Seen (label-studio-sdk 2.1.2): three exports, two different boxes, and neither is the one around the turned rectangle.
# YOLO and VOC leave the turn out. COCO turns percents of the width and of the height as if they were one unit, which
# bends the rectangle unless the picture is a square. Whoever needs turned boxes reads the JSON export.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "label-studio-sdk==2.1.2"
cd "$folder"
venv/bin/python - <<'PYTHON'
import json
import math
import re
from importlib.metadata import version
from pathlib import Path

from label_studio_sdk.converter import Converter
from PIL import Image

WIDTH, HEIGHT, X, Y, W, H, TURN = 200, 100, 80, 40, 60, 10, 30  # px, and degrees clockwise about the top left corner
upload = Path("upload")
upload.mkdir()
Image.new("L", (WIDTH, HEIGHT)).save(upload / "a.png")
value = {"x": 100 * X / WIDTH, "y": 100 * Y / HEIGHT, "width": 100 * W / WIDTH, "height": 100 * H / HEIGHT}
region = {
    "id": "r", "type": "rectanglelabels", "from_name": "label", "to_name": "image", "image_rotation": 0,
    "original_width": WIDTH, "original_height": HEIGHT, "value": {**value, "rotation": TURN, "rectanglelabels": ["duck"]},
}
annotation = {"id": 1, "was_cancelled": False, "completed_by": 1, "created_at": "2025-01-01T00:00:00Z", "result": [region]}
tasks = [{"id": 1, "data": {"image": "/data/upload/1/a.png"}, "annotations": [annotation], "predictions": []}]
Path("tasks.json").write_text(json.dumps(tasks))
config = (
    '<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image">'
    '<Label value="duck"/></RectangleLabels></View>'
)
converter = Converter(config, ".", upload_dir="upload", download_resources=False)
converter.convert_to_coco("tasks.json", "coco", is_dir=False, output_image_dir="coco/images")
converter.convert_to_voc("tasks.json", "voc", is_dir=False, output_image_dir="voc/images")
converter.convert_to_yolo("tasks.json", "yolo", is_dir=False, output_image_dir="yolo/images", output_label_dir="yolo/labels")

coco = json.loads(Path("coco/result.json").read_text())["annotations"][0]["bbox"]
text = next(Path("voc").rglob("*.xml")).read_text()
left, top, right, bottom = (float(re.search(f"<{tag}>(.*?)</{tag}>", text)[1]) for tag in ("xmin", "ymin", "xmax", "ymax"))
voc = [left, top, right - left, bottom - top]
_, cx, cy, w, h = map(float, next(Path("yolo/labels").glob("*.txt")).read_text().split()[:5])
yolo = [cx * WIDTH - w * WIDTH / 2, cy * HEIGHT - h * HEIGHT / 2, w * WIDTH, h * HEIGHT]
cosine, sine = math.cos(math.radians(TURN)), math.sin(math.radians(TURN))
true = [X - H * sine, Y, W * cosine + H * sine, W * sine + H * cosine]

print("label-studio-sdk", version("label-studio-sdk"))
for name, box in {"around the turned box": true, "COCO": coco, "VOC": voc, "YOLO": yolo}.items():
    print(f"{name:22}", [round(side, 2) for side in box])
near = lambda a, b: all(abs(p - q) < 0.6 for p, q in zip(a, b, strict=True))
assert near(voc, [X, Y, W, H]) and near(yolo, [X, Y, W, H]), "VOC or YOLO now turns boxes"
assert not near(coco, true) and not near(coco, voc), "COCO now gives one of the other boxes"
PYTHON
