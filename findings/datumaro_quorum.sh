#!/usr/bin/env bash
# Guess, before anything was run: where three observers' boxes are merged by datumaro's IntersectMerge with a quorum of 2,
# a bird that only one of them drew is left out or has a low score, and a bird that all drew has the mean box.
# Seen (datumaro 1.13.12): the quorum is about labels alone. The box of a single observer stays, without a label, and
# with a score of 1, above that of the bird which all three drew; without a quorum it had 1/3 and its label. The merged
# box is that of one observer, unchanged.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "datumaro==1.13.12"
cd "$folder"
venv/bin/python -W ignore - <<'PYTHON'
from importlib.metadata import version

from datumaro.components.annotation import Bbox
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.merge import IntersectMerge


def observer(*boxes):
    found = [Bbox(*box, label=0) for box in boxes]
    return Dataset.from_iterable([DatasetItem(id="frame", annotations=found)], categories=["mallard", "teal"])


def merged(quorum):
    """Box -> label and score."""
    observers = (
        observer((10, 10, 20, 10), (100, 50, 8, 8)),  # the second bird is seen by this one alone
        observer((12, 10, 20, 10)),
        observer((15, 10, 20, 10)),
    )
    (item,) = IntersectMerge(conf=IntersectMerge.Conf(quorum=quorum))(*observers)
    return {tuple(box.get_bbox()): (box.label, round(box.attributes["score"], 3)) for box in item.annotations}


print("datumaro", version("datumaro"))
for quorum in (0, 2, 3):
    print(f"quorum {quorum}:", {box: {"label": label, "score": score} for box, (label, score) in merged(quorum).items()})
shared, alone = (12, 10, 20, 10), (100, 50, 8, 8)
assert merged(0) == {shared: (0, 0.852), alone: (0, 0.333)}, "this has changed without a quorum"
assert merged(2) == merged(3) == {shared: (0, 0.852), alone: (None, 1.0)}, "this has changed with a quorum"
PYTHON
