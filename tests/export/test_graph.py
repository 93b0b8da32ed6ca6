"""The exported graph: its inputs and outputs, and what it computes, in this process and without this package."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from dml_lightning.data.crops import CropOptions
from dml_lightning.export.graph import OPSET, DeployedEncoder
from dml_lightning.models.encoder import Encoder, RawPixels
from dml_lightning.types import LinearHead
from tests import ROOT
from tests.export.made_up import Fresh

PROGRAM = """
import sys
for name in ("dml_lightning", "lightning", "timm"):
    sys.modules[name] = None  # importing it raises
from pathlib import Path
import numpy as np
import torch
folder = Path(sys.argv[1])
crops = np.load(folder / "crops.npy")
program = torch.export.load(folder / "model" / "encoder.pt2").module()
outputs = program(crops=torch.from_numpy(crops))
sys.path.insert(0, str(folder / "model"))
from score import Model
from_onnx = [part for part in Model(folder / "model").embed(crops) if part is not None]
for mine, theirs in zip(outputs, from_onnx, strict=True):
    assert np.abs(mine.detach().numpy() - theirs).max() < 1e-5
import onnxruntime
session = onnxruntime.InferenceSession(folder / "model" / "encoder.onnx")
for count in (0, 1):
    some = program(crops=torch.from_numpy(crops[:count]))
    for whole, mine, theirs in zip(outputs, some, session.run(None, {"crops": crops[:count]}), strict=True):
        assert mine.shape == theirs.shape == (count, whole.shape[1])
        assert np.abs(whole[:count].detach().numpy() - theirs).sum() < 1e-4
"""


@pytest.mark.parametrize("case", ["softmax", "window"])
def test_the_pytorch_program_loads_without_this_package(
    case: str, exported: Callable[[str], Path], fresh: Fresh
) -> None:
    folder = exported(case)
    size = json.loads((folder / "model" / "model.json").read_text())["crop"]["crop_size"]
    crops = np.random.default_rng(0).normal(12, 2, (5, 1, size, size)).astype(np.float32)
    np.save(folder / "crops.npy", crops)
    fresh(PROGRAM, folder, cwd=folder)


def shape_of(value: Any) -> tuple[str, list[Any]]:
    dims = value.type.tensor_type.shape.dim
    return value.name, [dim.dim_param or dim.dim_value for dim in dims]


def test_the_onnx_graph_is_one_file_with_names(exported: Callable[[str], Path]) -> None:
    folder = exported("frame") / "model"
    proto = onnx.load(folder / "encoder.onnx")
    assert [shape_of(value) for value in proto.graph.input] == [("crops", ["N", 1, 16, 16]), ("statistics", ["N", 2])]
    assert [shape_of(value) for value in proto.graph.output] == [("embedding", ["N", 16])]
    assert "degC" in proto.doc_string
    assert OPSET in [each.version for each in proto.opset_import]
    assert not list(folder.glob("*.data"))
    for name in ("encoder.onnx", "encoder.pt2"):
        assert str(ROOT).encode() not in (folder / name).read_bytes(), name


def test_raw_crops_are_normalised_embedded_and_classified() -> None:
    """Against the formula: pixels of a window to -1..1, averaged, times the head."""
    head = LinearHead(torch.randn(3, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([1.0, 2.0, 3.0]))
    options = CropOptions(crop_size=16, normalisation="window", window=(10, 30))
    graph = DeployedEncoder(RawPixels(2, normalize=False), head, options, "degC")
    crops = 10 + 20 * torch.rand(5, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    vectors, logits = graph(crops)
    means = ((crops - 20) / 10).reshape(5, 2, 8, 2, 8).mean((2, 4)).flatten(1)
    assert graph.output_names == ["embedding", "logits"]
    torch.testing.assert_close(vectors, means)
    torch.testing.assert_close(logits, means @ head.weight.T + head.bias)


def test_an_arm_that_does_not_classify_gives_embeddings_alone() -> None:
    graph = DeployedEncoder(RawPixels(2), None, CropOptions(crop_size=16), "counts")
    assert graph.output_names == ["embedding"]
    assert len(graph(**graph.example(3, "counts"))) == 1


@pytest.mark.parametrize("normalisation", ["crop", "frame"])
def test_no_crops_have_no_embeddings(normalisation: Any) -> None:
    graph = DeployedEncoder(Encoder("test_resnet", 8), None, CropOptions(16, normalisation=normalisation), "counts")
    several = graph.example(3, "counts")
    (vectors,) = graph(**{name: rows[:0] for name, rows in several.items()})
    assert vectors.shape == (0, 8)
    (one,) = graph(**{name: rows[1:2] for name, rows in several.items()})
    torch.testing.assert_close(one, graph(**several)[0][1:2])  # nothing is mixed in


@pytest.mark.parametrize(("unit", "level"), [("counts", 29_000), ("degC", 10)])
def test_examples_reach_from_flat_to_high_contrast(unit: Any, level: float) -> None:
    graph = DeployedEncoder(RawPixels(2), None, CropOptions(crop_size=16, normalisation="frame"), unit)
    example = graph.example(8, unit)
    spreads = example["crops"].flatten(1).std(dim=1)
    assert spreads[0] == 0
    assert (spreads.diff() > 0).all()
    assert example["statistics"].shape == (8, 2)
    assert (example["statistics"][:, 0] == level).all()
