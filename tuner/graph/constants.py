"""Constants: out of Constant nodes, and folded where an exporter left arithmetic on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import AttributeProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from .draft import Draft, opset
from .order import put_nodes
from .tensors import put

_SHAPING = (
    "Transpose",
    "Reshape",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
    "Concat",
    "Split",
    "Slice",
    "Gather",
    "Expand",
    "Tile",
)
_ARITHMETIC = ("Add", "Sub", "Mul", "Div", "Neg", "Sqrt", "Reciprocal", "Pow", "Cast", "Shape", "Size", "Range")
_FOLDED = frozenset((*_SHAPING, *_ARITHMETIC, "ConstantOfShape"))
_FOLDED_BYTES = 1 << 20  # a result may be larger than this only where its inputs are


def constant_value(node: onnx.NodeProto) -> onnx.TensorProto | None:
    """What a Constant node holds, None for a sparse one."""
    attribute = node.attribute[0]
    if attribute.type == AttributeProto.TENSOR:
        tensor = onnx.TensorProto()
        tensor.CopyFrom(attribute.t)
        tensor.name = node.output[0]
        return tensor
    value = helper.get_attribute_value(attribute)
    kinds = {AttributeProto.FLOAT: np.float32, AttributeProto.FLOATS: np.float32, AttributeProto.INT: np.int64}
    kinds[AttributeProto.INTS] = np.int64
    if attribute.type in kinds:
        return numpy_helper.from_array(np.asarray(value, kinds[attribute.type]), node.output[0])
    if attribute.type in (AttributeProto.STRING, AttributeProto.STRINGS):
        strings = [value] if attribute.type == AttributeProto.STRING else list(value)
        dims = [] if attribute.type == AttributeProto.STRING else [len(strings)]
        return helper.make_tensor(node.output[0], onnx.TensorProto.STRING, dims, strings)
    return None


def constants_to_initializers(proto: onnx.ModelProto, weights: dict[str, np.ndarray]) -> None:
    """Turn the Constant nodes of the main graph into initializers, the large ones into stubs."""
    graph = proto.graph
    outputs = {value.name for value in graph.output}
    kept = []
    for node in graph.node:
        tensor = None
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx") and node.output[0] not in outputs:
            tensor = constant_value(node)
        if tensor is None:
            kept.append(node)
        elif tensor.data_type == onnx.TensorProto.STRING:
            graph.initializer.append(tensor)
        else:
            put(graph, weights, tensor.name, numpy_helper.to_array(tensor))
    if len(kept) != len(graph.node):
        put_nodes(graph, kept)


def fold_constants(draft: Draft) -> None:
    """Compute what depends on constants alone, as ONNX Runtime does: transposed weights, shapes, paddings."""
    graph = draft.proto.graph
    initializers = {tensor.name: tensor for tensor in graph.initializer}
    outputs = {value.name for value in graph.output}
    version = opset(draft.proto)
    gone = []
    for i, node in enumerate(graph.node):
        names = [name for name in node.input if name]
        if node.op_type not in _FOLDED or node.domain not in ("", "ai.onnx") or not names:
            continue
        if any(name not in initializers for name in names) or outputs.intersection(node.output):
            continue
        values = {name: draft.value(initializers[name]) for name in names}
        results = _evaluate(node, values, version)
        if results is None:
            continue
        for name, array in zip(node.output, results, strict=True):
            put(graph, draft.weights, name, array)
            initializers[name] = graph.initializer[-1]
        gone.append(i)
    draft.drop_nodes(gone)


def _evaluate(node: onnx.NodeProto, values: dict[str, np.ndarray], version: int) -> Sequence[np.ndarray] | None:
    """The node's outputs, None where they are too large or the reference implementation cannot tell."""
    if node.op_type in ("ConstantOfShape", "Expand", "Tile", "Range") and _growth(node, values) > _FOLDED_BYTES:
        return None
    graph = helper.make_graph(
        [node],
        "fold",
        [onnx.ValueInfoProto(name=name) for name in values],
        [onnx.ValueInfoProto(name=n) for n in node.output],
    )
    try:
        results = ReferenceEvaluator(graph, opsets={"": version}).run(None, values)
    except Exception:  # noqa: BLE001 - the reference evaluator raises anything; the node then simply stays in the graph
        return None
    allowed = max(_FOLDED_BYTES, sum(array.nbytes for array in values.values()))
    if any(not isinstance(array, np.ndarray | np.generic) for array in results):
        return None
    arrays = [np.asarray(array) for array in results]
    return arrays if sum(array.nbytes for array in arrays) <= allowed else None


def _growth(node: onnx.NodeProto, values: dict[str, np.ndarray]) -> int:
    """Bytes, at eight an element, of the result of an operator that can make much from little."""
    inputs = [values[name] for name in node.input if name]
    if node.op_type == "ConstantOfShape":
        elements = float(np.prod(inputs[0], dtype=np.float64))
    elif node.op_type == "Range":
        elements = abs((float(inputs[1]) - float(inputs[0])) / (float(inputs[2]) or 1.0))
    else:
        elements = inputs[0].size * float(np.prod(np.abs(inputs[1]), dtype=np.float64))
    return int(min(elements * 8, float(1 << 60)))
