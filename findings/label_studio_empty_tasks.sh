#!/usr/bin/env bash
# Guess: a picture in which the annotator found nothing, and said so, is in every export as a picture without a box.
# Seen (label-studio-sdk 2.1.2): COCO lists it, with null as its width and height; YOLO writes an empty label file; VOC
# writes nothing, so that it cannot be told from a picture that nobody has looked at: effort is lost on the way.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "label-studio-sdk==2.1.2"
cd "$folder"
venv/bin/python - <<'PYTHON'
import json
from importlib.metadata import version
from pathlib import Path

from label_studio_sdk.converter import Converter
from PIL import Image

upload = Path("upload")
upload.mkdir()
value = {"x": 10, "y": 10, "width": 5, "height": 5, "rotation": 0, "rectanglelabels": ["duck"]}
region = {
    "id": "r", "type": "rectanglelabels", "from_name": "label", "to_name": "image", "image_rotation": 0,
    "original_width": 200, "original_height": 100, "value": value,
}
tasks = []
for number, (name, result) in enumerate({"full": [region], "empty": []}.items(), start=1):
    Image.new("L", (200, 100)).save(upload / f"{name}.png")
    done = {"id": number, "was_cancelled": False, "completed_by": 1, "created_at": "2025-01-01T00:00:00Z", "result": result}
    tasks.append({"id": number, "data": {"image": f"/data/upload/1/{name}.png"}, "annotations": [done], "predictions": []})
Path("tasks.json").write_text(json.dumps(tasks))
config = (
    '<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image">'
    '<Label value="duck"/></RectangleLabels></View>'
)
converter = Converter(config, ".", upload_dir="upload", download_resources=False)
converter.convert_to_coco("tasks.json", "coco", is_dir=False, output_image_dir="coco/images")
converter.convert_to_voc("tasks.json", "voc", is_dir=False, output_image_dir="voc/images")
converter.convert_to_yolo("tasks.json", "yolo", is_dir=False, output_image_dir="yolo/images", output_label_dir="yolo/labels")

images = json.loads(Path("coco/result.json").read_text())["images"]
coco = {Path(image["file_name"]).stem: (image["width"], image["height"]) for image in images}
voc = sorted(path.stem for path in Path("voc").rglob("*.xml"))
yolo = {path.stem: path.stat().st_size for path in Path("yolo/labels").glob("*.txt")}
print("label-studio-sdk", version("label-studio-sdk"))
print("COCO, size of each image:", coco)
print("VOC, XML files:", voc)
print("YOLO, bytes of each label file:", yolo)
assert coco == {"full": (200, 100), "empty": (None, None)}, "COCO has changed"
assert voc == ["full"], "VOC has changed"
assert yolo["empty"] == 0 and yolo["full"] > 0, "YOLO has changed"
PYTHON
