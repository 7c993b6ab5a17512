"""Element types and shapes of a graph's tensors, as far as they can be told without running it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx
from onnx import TensorProto, shape_inference

Dim = int | str | None


@dataclass(frozen=True, slots=True)
class TensorType:
    """What is known of a tensor.

    Attributes:
        element: `TensorProto.DataType`, 0 if unknown or no tensor.
        shape: Its dimensions, a name or None where one is dynamic; None if not even the rank is known.
    """

    element: int
    shape: tuple[Dim, ...] | None


def tensor_types(proto: onnx.ModelProto) -> dict[str, TensorType]:
    """Types of all tensors of the main graph.

    Declared shapes of inner tensors and outputs are not believed: exporters get them wrong. Where onnx cannot infer
    a type (custom operators), the declared one counts, then that of the node's first typed input.
    """
    trusted = onnx.ModelProto()
    trusted.CopyFrom(proto)
    del trusted.graph.value_info[:]
    for value in trusted.graph.output:
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")
    _stand_in(trusted.graph)
    try:
        inferred = shape_inference.infer_shapes(trusted).graph
    except (
        shape_inference.InferenceError,
        RuntimeError,
        ValueError,
    ):  # a graph it cannot digest: declared types are left
        inferred = trusted.graph
    types = {t.name: TensorType(t.data_type, tuple(t.dims)) for t in proto.graph.initializer}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        types.setdefault(value.name, _of(value))
    for value in (*proto.graph.value_info, *proto.graph.output):
        if types.get(value.name, _UNKNOWN).element == 0:
            types[value.name] = _of(value)
    _guess(proto.graph, types)
    return types


def element_types(proto: onnx.ModelProto) -> dict[str, int]:
    """The element types alone."""
    return {name: kind.element for name, kind in tensor_types(proto).items()}


_UNKNOWN = TensorType(0, None)
_SHAPE_KEEPING = ("Gelu", "FastGelu", "BiasGelu", "QuickGelu")
_INTEGER = ("Shape", "Size", "NonZero", "ArgMax", "ArgMin")
_FLOAT = (
    *("EmbedLayerNormalization", "QEmbedLayerNormalization", "GatherBlockQuantized", "QAttention"),
    *("MatMulIntegerToFloat", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM"),
)
"""Operators of ONNX Runtime that read integers first and write floats, of the type of the floats they read."""
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)
_BOOLEAN = ("Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual", "Not", "And", "Or", "Xor", "IsNaN", "IsInf")


def _stand_in(graph: onnx.GraphProto) -> None:
    """Put Identity for operators of ONNX Runtime that onnx does not know and that write what they read, in shape."""
    for node in graph.node:
        if node.domain == "com.microsoft" and node.op_type in _SHAPE_KEEPING:
            node.CopyFrom(onnx.NodeProto(op_type="Identity", input=node.input[:1], output=node.output))


def _of(value: onnx.ValueInfoProto) -> TensorType:
    if not value.type.HasField("tensor_type"):
        return _UNKNOWN
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        return TensorType(kind.elem_type, None)
    dims: list[Dim] = []
    for dim in kind.shape.dim:
        fixed = dim.HasField("dim_value") and dim.dim_value >= 0
        dims.append(dim.dim_value if fixed else dim.dim_param or None)
    return TensorType(kind.elem_type, tuple(dims))


def _guess(graph: onnx.GraphProto, types: dict[str, TensorType]) -> None:
    """Fill in element types that inference left open: most operators keep their first input's."""
    for node in graph.node:
        element = _result(node, types)
        for name in node.output:
            if name and types.get(name, _UNKNOWN).element == 0:
                types[name] = TensorType(element, types.get(name, _UNKNOWN).shape)


def _result(node: onnx.NodeProto, types: Mapping[str, TensorType]) -> int:
    if node.op_type == "Cast":
        return next((a.i for a in node.attribute if a.name == "to"), 0)
    if node.op_type in _INTEGER:
        return int(TensorProto.INT64)
    if node.op_type in _BOOLEAN:
        return int(TensorProto.BOOL)
    candidates = node.input
    if node.op_type in ("Where", "DequantizeLinear"):
        candidates = node.input[1:]
    elif node.op_type == "QuantizeLinear":
        candidates = node.input[2:]
    if node.op_type in _FLOAT:
        candidates = [name for name in node.input if types.get(name, _UNKNOWN).element in _FLOATS]
    known = (types[name].element for name in candidates if types.get(name, _UNKNOWN).element)
    return next(known, 0)
