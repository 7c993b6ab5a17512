"""What a strategy learns of the clock: the borders between operators, and the profile of a candidate by layer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import onnx

from ...evaluators.profiling import KernelTime
from ...strategies.base import Border, Profile
from ...strategies.words import LAYER, OP
from ..graph.analysis import Analysis
from ..quantization.kernels import names_of

_CONVERSIONS = frozenset({"QuantizeLinear", "DequantizeLinear", "Cast", "ReorderInput", "ReorderOutput"})
# What ONNX Runtime lets a float Conv or Gemm compute on its way out.
_ACTIVATIONS = frozenset({"Relu", "Clip", "Sigmoid", "Tanh", "LeakyRelu", "HardSigmoid", "Add", "BatchNormalization"})
_FUSED = 4
_COMPUTE = ("Conv", "MatMul", "Gemm")
_INTEGER = ("QLinear", "Q")


def borders(analysis: Analysis, shapes: Mapping[str, Sequence[int]]) -> tuple[Border, ...]:
    """Every tensor that a layer or glue writes or reads, by the parameters of both sides.

    Args:
        analysis: Of the graph, all rewrites on.
        shapes: Tensor → its shape for one sample, as calibration saw it.
    """
    writers: dict[str, str] = {}
    readers: list[tuple[str, str]] = []
    for layer in analysis.layers:
        writers[layer.output] = LAYER + layer.group
        readers += [(tensor, LAYER + layer.group) for tensor in layer.inputs]
    for glue in analysis.glue:
        writers |= dict.fromkeys(glue.outputs, OP + glue.op_type)
        readers += [(tensor, OP + glue.op_type) for tensor in glue.inputs]
    found = [Border(writers.get(tensor, ""), reader, _size(shapes, tensor)) for tensor, reader in readers]
    read = {tensor for tensor, _ in readers}
    found += [Border(writer, "", _size(shapes, tensor)) for tensor, writer in writers.items() if tensor not in read]
    return tuple(border for border in found if border.writer != border.reader)


def profiled(kernels: Iterable[KernelTime], analysis: Analysis, graph: onnx.GraphProto) -> Profile:
    """Kernel times by layer and type of glue.

    A kernel belongs to the layer or glue whose node it was made of, by its name; in the blocked layout (NCHWc) a Conv
    bears the name of the tensor it writes, behind whatever fused into it. A Transpose of no such node is ONNX
    Runtime's own and a conversion, as Q, DQ and the blocked layout's reorders are.

    Args:
        kernels: Of a candidate.
        analysis: Of the float graph, with the candidate's rewrites.
        graph: That graph.
    """
    layers = {layer.name: LAYER + layer.group for layer in analysis.layers}
    layers |= {tensor: LAYER + group for tensor, group in _written(analysis, graph)}
    glue = {glue.name: glue.op_type for glue in analysis.glue}
    per_layer: dict[str, float] = {}
    per_type: dict[str, float] = {}
    conversions = total = 0.0
    for kernel in kernels:
        total += kernel.ms
        owner = next((name for name in names_of(kernel.name) if name in layers or name in glue), None)
        if owner in layers:
            per_layer[layers[owner]] = per_layer.get(layers[owner], 0.0) + kernel.ms
        elif owner is None and (kernel.op_type in _CONVERSIONS or kernel.op_type == "Transpose"):
            conversions += kernel.ms
        else:
            kind = glue[owner] if owner is not None else _plain(kernel.op_type)
            per_type[kind] = per_type.get(kind, 0.0) + kernel.ms
    # A float MatMul that was fused with what stands before it has lost its name.
    lost = [name for name in dict.fromkeys(layers.values()) if name not in per_layer]
    nameless = [kind for kind in per_type if any(word in kind for word in _COMPUTE)]
    if lost and nameless:
        shared = sum(per_type.pop(kind) for kind in nameless)
        per_layer |= dict.fromkeys(lost, shared / len(lost))
    return Profile(per_layer, per_type, conversions, total)


def _written(analysis: Analysis, graph: onnx.GraphProto) -> Iterator[tuple[str, str]]:
    """What a kernel of a layer may write: the outputs of its node, of its tail, and of the activations behind."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    for layer in analysis.layers:
        node = graph.node[layer.node]
        for _ in range(_FUSED):
            yield node.output[0], layer.group
            behind = readers.get(node.output[0], [])
            if len(behind) != 1 or behind[0].op_type not in _ACTIVATIONS:
                break
            node = behind[0]


def _plain(op_type: str) -> str:
    """The operator an integer kernel is of."""
    for prefix in _INTEGER:
        if op_type.startswith(prefix) and op_type[len(prefix) : len(prefix) + 1].isupper():
            return op_type[len(prefix) :]
    return op_type


def _size(shapes: Mapping[str, Sequence[int]], tensor: str) -> int:
    return math.prod(max(1, int(size)) for size in shapes.get(tensor, ()))
