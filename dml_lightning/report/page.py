"""The report as one self-contained HTML page: all text is escaped, and nothing is loaded from elsewhere."""

import base64
import gzip
import hashlib
import itertools
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from dml_lightning.evaluation.ood import reference_prototypes
from dml_lightning.figures.palette import class_styles
from dml_lightning.figures.projection import (
    SPRITE_COLUMNS,
    ShownCrops,
    chosen_crops,
    crop_png,
    project,
    sprite,
    used_method,
)
from dml_lightning.report.inputs import ReportInput
from dml_lightning.report.parts import floats
from dml_lightning.report.sections import sections
from dml_lightning.report.style import Json, layout
from dml_lightning.report.summary import answer_text
from dml_lightning.stats.tables import Table
from dml_lightning.types import Projection

HERE = Path(__file__).parent
METHODS: dict[Projection, str] = {
    "tsne": "t-SNE: near points are neighbours in the embedding; the distance and the size of groups mean nothing.",
    "pca": "PCA: the two directions of largest variance.",
}


def render_page(given: ReportInput, method: Projection = "tsne") -> str:
    """Writes the report as one HTML page.

    Args:
        given: Runs by arm.
        method: Method of the projections.
    """
    made = sections(given)
    figures = [figure for section in made for figure in section.figures]
    plotly, script = get_plotlyjs(), (HERE / "page.js").read_text(encoding="utf-8")
    shown = embeddings(given, method)
    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined)
    environment.filters |= {"png": crop_png, "breakable": _breakable}
    return environment.get_template("page.html").render(
        title=given.title,
        answer=answer_text(given),
        sections=made,
        number=itertools.count().__next__,
        figures_json=_json([{"data": f.data, "layout": f.layout} for f in figures]),
        projection=_described(given, shown, method),
        projection_json=_json(shown),
        css=(HERE / "page.css").read_text(encoding="utf-8"),
        plotly=base64.b64encode(gzip.compress(plotly.encode("utf-8"), mtime=0)).decode("ascii"),
        script=script,
        script_hashes=[Markup(_hash(text)) for text in (plotly, script)],
        version=version("dml-lightning"),
    )


def _breakable(name: str) -> Markup:
    """A name that may be broken after each underscore."""
    return Markup("_<wbr>").join(name.split("_"))


def _json(content: Any) -> Markup:
    """JSON without the characters that could end the script element around it."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


def _hash(script: str) -> str:
    """Source expression of the page's content security policy for an inline script."""
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def embeddings(given: ReportInput, method: Projection) -> Json:
    """Data of the projections for the page's script: classes, crops, and their coordinates under each arm.

    Arms that show the same crops share one pool of them.

    Args:
        given: Runs by arm.
        method: Method of the projections.
    """
    styles = class_styles(run.evidence for run in given.shown.values())
    pools: list[ShownCrops] = []
    arms, drawn = [], []
    for arm, run in given.shown.items():
        evidence = run.evidence
        crops = chosen_crops(evidence)
        same = [number for number, pool in enumerate(pools) if pool.same_as(crops)]
        if not same:
            pools.append(crops)
            drawn.append([evidence.class_names[label] for label in crops.labels])
        distances = np.asarray(reference_prototypes(evidence).distances(crops.vectors))  # (N, C)
        points = project(crops.vectors, method)
        arms.append(
            {
                "name": arm,
                "pool": same[0] if same else len(pools) - 1,
                "x": floats(points[:, 0], 3),
                "y": floats(points[:, 1], 3),
                "nearest": distances.argmin(1).tolist(),
                "distance": floats(distances.min(1), 3),
                "names": evidence.class_names[: evidence.num_classes],
            }
        )
    number = {name: at for at, name in enumerate(styles)}
    return {
        "arms": arms,
        "pools": [_pool(pool, [number[n] for n in names]) for pool, names in zip(pools, drawn, strict=True)],
        "classes": [vars(style) for style in styles.values()],
        "layout": layout(
            440,
            xaxis={"visible": False},
            yaxis={"visible": False},
            margin={"l": 8, "r": 8, "t": 8, "b": 8},
            showlegend=False,
        ),
    }


def _pool(crops: ShownCrops, labels: list[int]) -> Json:
    """Data of the crops that one or more arms show; `labels` (N,) count the classes of the page."""
    image, side = (None, 1) if crops.thumbnails is None else sprite(crops.thumbnails)
    return {
        "labels": labels,
        "flights": crops.groups.tolist(),
        "sprite": image,
        "side": side,
        "columns": SPRITE_COLUMNS,
    }


def _described(given: ReportInput, shown: Json, method: Projection) -> Json:
    """Text and table of the projections, for readers who cannot see them."""
    classes = shown["classes"]
    rows = [
        [c["name"], c["role"], sum(pool["labels"].count(number) for pool in shown["pools"])]
        for number, c in enumerate(classes)
    ]
    used = dict.fromkeys(used_method(len(arm["x"]), method) for arm in shown["arms"])
    return {
        "method": " ".join(METHODS[each] for each in used),
        "arms": [
            {
                "title": name if run.trained else f"{name} (floor)",
                "alt": f"Projection of {len(arm['x'])} test crops of {len(classes)} classes under {name}.",
            }
            for arm, (name, run) in zip(shown["arms"], given.shown.items(), strict=True)
        ],
        "table": Table("Crops shown", ["class", "role", "crops"], rows),
    }
