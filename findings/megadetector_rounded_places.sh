#!/usr/bin/env bash
# Guess, before anything was run: the argument `precision=3` of megadetector-utils' md_to_coco, "round box coordinates
# to this many decimal places", rounds the four numbers of each box, in px, and nothing else.
# Seen (megadetector-utils 10.0.28): every number of the file is rounded, also what `preserve_nonstandard_metadata`
# keeps of each image: latitude and longitude in degrees lose all but three decimals. The frames of a flight, 5 m apart,
# land on a few points 111 m apart, up to 54 m to the north or south of where they were taken.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "megadetector-utils==10.0.28"
cd "$folder"
venv/bin/python - <<'PYTHON'
import json
from importlib.metadata import version
from math import cos, radians

from megadetector.postprocessing.md_to_coco import md_to_coco

METRES = 111195  # of one degree of latitude on a sphere of 6371 km
places = [(52.4384 + 5 * number / METRES, 13.6487) for number in range(40)]  # a flight to the north, 5 m per frame
images = [
    {
        "file": f"{number}.jpg", "width": 640, "height": 512, "latitude": lat, "longitude": lon,
        "detections": [{"category": "1", "conf": 0.87654, "bbox": [0.1234567, 0.2, 0.0111111, 0.02]}],
    }
    for number, (lat, lon) in enumerate(places)
]
content = {"info": {"format_version": "1.4"}, "detection_categories": {"1": "animal"}, "images": images}
with open("detections.json", "w") as file:
    json.dump(content, file)
options = {"preserve_nonstandard_metadata": True, "validate_image_sizes": False, "verbose": False}
seen = {
    precision: md_to_coco("detections.json", f"{precision}.json", precision=precision, **options)
    for precision in (3, None)
}
whole = [(image["latitude"], image["longitude"]) for image in seen[None]["images"]]
kept = [(image["latitude"], image["longitude"]) for image in seen[3]["images"]]
north = [METRES * (after[0] - before[0]) for before, after in zip(places, kept)]
east = METRES * (kept[0][1] - places[0][1]) * cos(radians(places[0][0]))
steps = sorted({round(METRES * (after[0] - before[0])) for before, after in zip(kept, kept[1:])})
print("megadetector-utils", version("megadetector-utils"))
print("box", seen[3]["annotations"][0]["bbox"], "score", seen[3]["annotations"][0]["score"], "of 0.87654")
print(f"first frame: {places[0]} became {kept[0]}, {east:+.0f} m east")
print(f"moved north by {min(north):+.0f} to {max(north):+.0f} m; from frame to frame by {steps} m, where it was 5 m")
assert whole == places, "without precision, places are no longer kept"
assert kept == [(round(lat, 3), round(lon, 3)) for lat, lon in places], "places are no longer rounded"
assert steps == [0, 111], "steps have changed"
assert seen[3]["annotations"][0]["score"] == 0.877, "scores are no longer rounded"
PYTHON
