"""One graph from raw crops to embeddings, written as a PyTorch program (.pt2) and as ONNX.

Importing `torch.export` starts threads, so it is imported only in the functions that need it.
"""

from io import BytesIO
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dml_lightning.data.crops import CropOptions
from dml_lightning.data.frames import Unit
from dml_lightning.data.geometry import BOX_INPUTS
from dml_lightning.data.normalisation import Normalize
from dml_lightning.models.encoder import Encoder
from dml_lightning.types import Encoded, LinearHead

OPSET = 18  # onnxruntime 1.14 and later
EXAMPLES = 2  # crops to trace with; with 1 the number of crops would become a constant


class DeployedEncoder(nn.Module):
    """Normalisation, encoder and classifier as one module, in evaluation mode on the CPU.

    Args:
        encoder: Encoder of a finished run; it is changed in place.
        head: Linear head of an arm that classifies, else None.
        options: Size and normalisation of the crops.
        unit: Unit of the raw crops.
        with_features: Whether it returns the backbone's features, too.
    """

    def __init__(
        self,
        encoder: Encoder,
        head: LinearHead | None,
        options: CropOptions,
        unit: Unit,
        with_features: bool = False,
    ) -> None:
        super().__init__()
        self.with_features = with_features
        self.normalize = Normalize(options.normalisation, unit, options.window)
        self.encoder = encoder
        self.classifies = head is not None
        if head is not None:
            self.register_buffer("weight", head.weight.detach().cpu().clone())
            self.register_buffer("bias", head.bias.detach().cpu().clone())
        self.size = options.crop_size
        self.box_inputs = [name for name in options.side_inputs if name in BOX_INPUTS]
        self.takes_contrast = "contrast" in options.side_inputs
        self.eval().cpu().to(memory_format=torch.contiguous_format)

    @property
    def output_names(self) -> list[str]:
        """Names of what `forward` returns, in its order."""
        return ["embedding"] + ["logits"] * self.classifies + ["features"] * self.with_features

    def forward(
        self, crops: Tensor, statistics: Tensor | None = None, side: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Embeds raw crops.

        Args:
            crops: Raw pixels (N, 1, S, S) in the unit of the frames.
            statistics: Location and scale (N, 2) of each crop's frame; only for normalisation "frame".
            side: Side inputs (N, m) by `box_inputs`, such as the width in px; only where there are some. The
                contrast follows from the crops.

        Returns:
            Embeddings (N, D), logits (N, C) of an arm that classifies, and features (N, F) if it has them.
        """
        count = crops.shape[0]
        crops, statistics = _at_least_one(crops), None if statistics is None else _at_least_one(statistics)
        known = [] if side is None else [_at_least_one(side)]
        if self.takes_contrast:
            known.append(self.normalize.measure(crops, statistics)[:, 1:])
        joined = [torch.cat(known, dim=1)] if known else []
        encoded: Encoded = self.encoder(self.normalize(crops, statistics), *joined, with_features=True)
        vectors, features = (part[:count] for part in encoded)
        outputs = [vectors]
        if self.classifies:
            outputs.append(F.linear(vectors, self.get_buffer("weight"), self.get_buffer("bias")))
        return (*outputs, features) if self.with_features else tuple(outputs)

    def example(self, count: int, unit: Unit, seed: int = 0) -> dict[str, Tensor]:
        """Random inputs of `count` crops, from flat to high contrast, by the argument names of `forward`."""
        generator = torch.Generator().manual_seed(seed)
        level, spread = (29_000.0, 300.0) if unit == "counts" else (10.0, 3.0)
        shape = (count, 1, self.size, self.size)
        contrast = torch.linspace(0, 2 * spread, count)[:, None, None, None]
        inputs = {"crops": level + contrast * torch.randn(shape, generator=generator)}
        if self.normalize.normalisation == "frame":
            inputs["statistics"] = torch.tensor([[level, spread]]).repeat(count, 1)
        if self.box_inputs:
            inputs["side"] = torch.exp(torch.randn(count, len(self.box_inputs), generator=generator))
        return inputs


def _at_least_one(rows: Tensor) -> Tensor:
    """Rows (N, ...), or a row of ones if there are none: neither quantiles nor ONNX's reshapes take an empty batch."""
    missing = torch.sym_max(1 - rows.shape[0], 0)
    return torch.cat([rows, rows.new_ones((missing, *rows.shape[1:]))])


@torch.no_grad()
def write_graphs(model: DeployedEncoder, unit: Unit, folder: Path, description: str) -> None:
    """Writes encoder.pt2 and encoder.onnx; both take any number of crops.

    Args:
        model: Module to write.
        unit: Unit of the raw crops.
        folder: Existing folder to write into.
        description: Text for the ONNX file.
    """
    import torch.export

    inputs = model.example(EXAMPLES, unit)
    count = torch.export.Dim("N")
    program = torch.export.export(model, (), inputs, dynamic_shapes={name: {0: count} for name in inputs})
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it holds paths of this machine
    saved = BytesIO()  # PyTorch's own writer of files reports no full disk
    torch.export.save(program, saved)
    (folder / "encoder.pt2").write_bytes(saved.getvalue())
    _write_onnx(program, model, list(inputs), folder / "encoder.onnx", description)


def _write_onnx(program: Any, model: DeployedEncoder, inputs: list[str], path: Path, description: str) -> None:
    import onnx
    import torch.onnx

    written: Any = torch.onnx.export(
        program, dynamo=True, opset_version=OPSET, input_names=inputs, output_names=model.output_names, verbose=False
    )
    proto = written.model_proto
    graph = proto.graph
    for node in [*graph.node, *(node for function in proto.functions for node in function.node)]:
        del node.metadata_props[:]  # it holds paths of this machine
        node.doc_string = ""
    for value in [*graph.input, *graph.output]:
        value.type.tensor_type.shape.dim[0].dim_param = "N"
        del value.metadata_props[:]
    del graph.value_info[:]
    graph.name, graph.doc_string, proto.doc_string = "encoder", description, description
    proto.producer_name = "dml-lightning"
    onnx.checker.check_model(proto)
    path.write_bytes(proto.SerializeToString())
