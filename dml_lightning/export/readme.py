"""The README of an exported folder."""

from typing import Any

from dml_lightning.data.geometry import BOX_INPUTS

TEXT = """# {run}: an exported model

Names thermal crops of {number} classes ({classes}){species} and refuses what it does not know.
`score.py` needs `pip install numpy onnxruntime safetensors`, and no PyTorch; `tifffile imagecodecs pillow` to
read frames.

```
python score.py frame.tiff --boxes boxes.csv     # one CSV row per box; columns x, y, width, height in px
python score.py crops.npy                        # (N, {size}, {size}) raw pixels in {unit}
```
```python
from score import Model
model = Model("this folder")
frame = model.read("frame.tiff")
result = model.predict(model.cut(frame, boxes))  # dict of arrays
result["species"], result["label"], result["ood_score_{rule}"], result["p_value"]
```
The species is empty where the crop is refused, and the label then only a guess. It is refused, its decision `unknown`,
where the score of the rule is above the rule's threshold; rule {rule} decides unless another is asked for.
{why}
{sets}

| rule | score | threshold | where it comes from |
|---|---|---|---|
{rules}

## Frames and crops
Frames are {frames}. A crop is the square around the centre of its box with the side
{shown}, resampled to {size} × {size} px: linear interpolation
when it is enlarged, a triangle as wide as the step when it is reduced, reflection beyond the edges of the frame, no
rounding to whole pixels. `cut` in `score.py` does it with NumPy alone.
{normalisation} This happens inside the graph: give raw pixels.{side}

## Files
| file | content |
|---|---|
| `score.py` | the reader; the rest can be used without it |
| `dml_geometry.py`, `dml_judge.py`, `dml_pixels`, `dml_scores.py` | what the reader needs |
| `encoder.onnx` | {inputs} → {outputs}, float32, N free; opset {opset}, one file |
| `encoder.pt2` | the same for PyTorch on the CPU: `torch.export.load("encoder.pt2").module()` |
| `model.json` | classes, enrolled species, rules, thresholds (null refuses nothing), crops, versions |
| `arrays.safetensors` | prototypes, radii, stored crops' embeddings, calibration scores, classifier |
| `recipe.fit.yaml` | how the run was trained |

Checked when it was written:
{checks}
"""

NORMALISED = {
    "crop": "Each crop is normalised by its own median and contrast.",
    "frame": "Each crop is normalised by median and contrast of its frame, the second input `statistics`.",
    "window": "Pixels are scaled from {window} degC to -1..1 and limited to it.",
}


def readme(words: dict[str, Any], inputs: list[str], outputs: list[str], opset: int) -> str:
    """Writes the README in Markdown.

    Args:
        words: Content of model.json.
        inputs: Names and shapes of the graph's inputs.
        outputs: Names and shapes of its outputs.
        opset: ONNX opset of the graph.
    """
    crop, enrolled = words["crop"], [species["label"] for species in words["enrolled"]]
    window = "{} to {}".format(*crop["window"]) if crop["window"] else ""
    return TEXT.format(
        run=words["run"],
        number=len(words["classes"]),
        classes=", ".join(words["classes"]),
        species=f" and the enrolled species {', '.join(enrolled)}" if enrolled else "",
        size=crop["crop_size"],
        unit=crop["unit"],
        rule=words["default_rule"],
        why=words["score"]["why"],
        sets=_sets(words["sets"]),
        rules="\n".join(_row(name, rule) for name, rule in words["rules"].items()),
        frames=_frames(crop),
        shown=_shown(crop),
        normalisation=NORMALISED[crop["normalisation"]].format(window=window),
        side=_side([name for name in crop["side_inputs"] if name in BOX_INPUTS]),
        inputs=", ".join(f"`{name}`" for name in inputs),
        outputs=", ".join(f"`{name}`" for name in outputs),
        opset=opset,
        checks="\n".join(f"- {line}" for line in words["checks"]),
    )


def _sets(sets: dict[str, Any] | None) -> str:
    """What the sets of species promise, or that there are none."""
    if sets is None:
        return "There are no sets of species, as the run keeps no calibration crops by class."
    return (
        f"`species_set` holds the species of a known crop with probability {1 - sets['alpha']:g}, before refusal and\n"
        f"for crops like those of the calibration: {sets['thresholds']}."
    )


def _row(name: str, rule: dict[str, Any]) -> str:
    """A row of the table of rules."""
    threshold = "none: refuses nothing" if rule["threshold"] is None else f"{rule['threshold']:.6g}"
    return f"| {name} | {rule['score']} | {threshold} | {rule['name']} |"


def _shown(crop: dict[str, Any]) -> str:
    """The side of the square that a crop shows."""
    if crop["crop_metres"] is not None:
        return f"{crop['crop_metres']:g} m on the ground, by the frame's metres per px (`gsd`)"
    return f"max({1 + crop['context']:g} × the box's longer side, {crop['min_side']:g} px)"


def _side(names: list[str]) -> str:
    """What the graph takes of each box beside its pixels."""
    columns = (
        f" The input `side` has {' and '.join(names)} of each box in px (_m: in metres), as columns in this order."
    )
    return columns if names else ""


def _frames(crop: dict[str, Any]) -> str:
    """The pixels that frames may have, to complete "Frames are ..."."""
    if crop["radiometry"]:
        gain, offset = crop["radiometry"]["gain"], crop["radiometry"]["offset"]
        return f"in counts, where degC = {gain:g} × counts + {offset:g}, or floats in degC"
    return "floats in degC" if crop["unit"] == "degC" else "8- or 16-bit unsigned integers in counts"
