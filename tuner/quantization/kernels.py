"""What really ran on integers: read from ONNX Runtime's optimized graph, under a user's default options."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx

from ...evaluators.session import open_session
from ...strategies.words import PRECISIONS
from ..graph.analysis import Analysis
from .candidate import Candidate

INTEGER_KERNELS = frozenset(
    {
        *("QLinearConv", "ConvInteger", "QLinearConvTranspose"),
        *("QLinearMatMul", "MatMulInteger", "MatMulIntegerToFloat", "QGemm"),
        *("DynamicQuantizeMatMul", "MatMulNBits", "QMoE", "QAttention", "DynamicQuantizeLSTM"),
    }
)
"""Compute operators of ONNX Runtime that multiply integers."""

_WIDE = (onnx.TensorProto.UINT16, onnx.TensorProto.INT16)
_NARROW = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)

# What ONNX Runtime appends to the name of the node it makes a kernel of, the last first.
_APPENDED = tuple(re.compile(pattern) for pattern in (r"_token_\d+$", r"_nchwc$", r"/MatMulAddFusion$", r"_\d+$"))


@dataclass(frozen=True, slots=True)
class Kernel:
    """A node of the optimized graph that multiplies integers.

    Attributes:
        name: Its name there.
        op_type: Its operator.
        layer: The layer it computes, None where it is none of the analysis (quantized in the float model already).
    """

    name: str
    op_type: str
    layer: str | None


def ran(model: Path | Candidate, analysis: Analysis) -> dict[str, str]:
    """Which precision each layer of a built model runs in on ONNX Runtime's CPU provider.

    Every kernel of the optimized graph that multiplies integers is attributed to a layer by the name `Builder` gave its
    node, which ONNX Runtime keeps; a layer without one runs in float. What float kernels are fed with follows from the
    file: weights that it holds on 8 bits, or activations rounded to 16. fp16 layers run as fp32: the CPU provider has
    no float16 kernels.

    Args:
        model: A model file that `Builder` made, or a candidate in memory.
        analysis: Of the float model.

    Returns:
        Layer name → `int8`, `int4` (MatMulNBits), `int16`, `weight8` or `fp32`.

    Raises:
        ModelError: ONNX Runtime does not take the model.
    """
    integer = {kernel.layer: kernel.op_type for kernel in integer_kernels(model, analysis)}
    proto = model.proto if isinstance(model, Candidate) else onnx.load(model, load_external_data=False)
    fed = _fed(proto.graph, {layer.name for layer in analysis.layers})
    found = {}
    for layer in analysis.layers:
        kernel = integer.get(layer.name)
        by_kernel = "int4" if kernel == "MatMulNBits" else "int8"
        found[layer.name] = by_kernel if kernel else fed.get(layer.name, "fp32")
    return found


def integer_kernels(model: Path | Candidate, analysis: Analysis) -> list[Kernel]:
    """All integer kernels of the optimized graph, bodies of control flow included."""
    layers = {layer.name for layer in analysis.layers}
    return [
        Kernel(node.name, node.op_type, _layer(node.name, layers))
        for node in _nodes(optimized(model).graph)
        if node.op_type in INTEGER_KERNELS
    ]


def optimized(model: Path | Candidate) -> onnx.ModelProto:
    """The graph that ONNX Runtime's CPU provider runs, larger constants left out."""
    with tempfile.TemporaryDirectory(prefix="autoquant-") as folder:
        path = Path(folder) / "optimized.onnx"
        if isinstance(model, Candidate):
            open_session(model.skeleton(), weights=model.weights, optimized_path=path)
        else:
            open_session(model, optimized_path=path)
        return onnx.load(path, load_external_data=False)


def names_of(kernel: str) -> Iterator[str]:
    """The name of a node of the optimized graph, then the names it may have been made of, the nearest first."""
    while True:
        yield kernel
        pattern = next((pattern for pattern in _APPENDED if pattern.search(kernel)), None)
        if pattern is None:
            return
        kernel = pattern.sub("", kernel)


def _layer(name: str, layers: set[str]) -> str | None:
    """The layer whose node a kernel was made of."""
    return next((found for found in names_of(name) if found in layers), None)


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes(attribute.g)


def _fed(graph: onnx.GraphProto, layers: set[str]) -> dict[str, str]:
    """Layer → `int16` or `weight8`, by what its node reads in a graph as `Builder` wrote it; others are left out."""
    producer = {name: node for node in graph.node for name in node.output}
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    found = {}
    for node in graph.node:
        if node.name not in layers:
            continue
        for name in node.input:
            source = producer.get(name)
            if source is None:
                continue
            if source.op_type == "DequantizeLinear" and types.get(source.input[-1]) in _WIDE:
                found[node.name] = "int16"
            while source is not None and source.op_type in ("Mul", "Sub"):
                source = producer.get(source.input[0])
            if source is not None and source.op_type == "Cast" and types.get(source.input[0]) in _NARROW:
                found[node.name] = "weight8"
    return found


def count(layers: Mapping[str, str], total: int | None = None) -> dict[str, int]:
    """Layers by precision: `total`, `int8`, `fp16`, `fp32`, and of the others those that occur.

    Args:
        layers: Layer → precision.
        total: All layers, those in float that are not named included; None for those named.
    """
    values = list(layers.values())
    total = len(values) if total is None else total
    counts = {precision: values.count(precision) for precision in PRECISIONS if precision != "fp32"}
    shown = {precision: number for precision, number in counts.items() if number or precision in ("int8", "fp16")}
    return {"total": total, **shown, "fp32": total - sum(counts.values())}
