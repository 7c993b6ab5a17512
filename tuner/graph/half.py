"""float16 models as float32 graphs with float16 inputs and outputs.

ONNX Runtime's CPU kernels compute float16 in float32 anyway, and its integer kernels want float32 around them.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from .draft import Draft
from .index import reads, rename_reads, subgraphs
from .order import put_nodes
from .tensors import is_stub, stub

_TYPE_ATTRIBUTES = frozenset(("to", "dtype", "output_dtype", "stash_type"))


def widen_half(draft: Draft) -> None:
    """Turn every float16 tensor of the model into float32, but for the graph's inputs and outputs, which are cast."""
    graph = draft.proto.graph
    if not _has_half(graph):
        return
    draft.notes.append(
        "float16 computed as float32, as ONNX Runtime does on the CPU; inputs and outputs keep their types."
    )
    for name in [name for name, array in draft.weights.items() if array.dtype == np.float16]:
        draft.weights[name] = draft.weights[name].astype(np.float32)
    halves = {value.name for value in (*graph.input, *graph.output) if _element(value) == TensorProto.FLOAT16}
    _widen(graph, draft.weights)
    renamed = {name: draft.free_name(f"{name}/float32") for name in sorted(halves)}
    for node in graph.node:
        rename_reads(node, renamed)
        for i, name in enumerate(node.output):
            if name in renamed:
                node.output[i] = renamed[name]
    casts_in = [
        _cast(value.name, renamed[value.name], TensorProto.FLOAT) for value in graph.input if value.name in halves
    ]
    casts_out = [_cast(renamed[v.name], v.name, TensorProto.FLOAT16) for v in graph.output if v.name in halves]
    put_nodes(graph, [*casts_in, *graph.node, *casts_out])
    for value in (*graph.input, *graph.output):
        if value.name in halves:
            value.type.tensor_type.elem_type = TensorProto.FLOAT16


def _has_half(graph: onnx.GraphProto) -> bool:
    """Whether anything within a graph is float16, beyond inputs that are cast at once and outputs cast at last."""
    outputs = {value.name for value in graph.output}
    inputs = {value.name for value in graph.input if _element(value) == TensorProto.FLOAT16}
    if any(tensor.data_type == TensorProto.FLOAT16 for tensor in graph.initializer):
        return True
    for node in graph.node:
        if node.op_type == "Cast" and outputs.issuperset(node.output):
            continue
        if node.op_type != "Cast" and not inputs.isdisjoint(reads(node)):
            return True
        if any(a.name in _TYPE_ATTRIBUTES and a.i == TensorProto.FLOAT16 for a in node.attribute):
            return True
        if any(a.type == AttributeProto.TENSOR and a.t.data_type == TensorProto.FLOAT16 for a in node.attribute):
            return True
        if any(_has_half(body) for body in subgraphs(node)):
            return True
    return False


def _element(value: onnx.ValueInfoProto) -> int:
    return int(value.type.tensor_type.elem_type) if value.type.HasField("tensor_type") else 0


def _cast(source: str, target: str, to: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [target], name=f"Cast:{target}", to=to)


def _widen(graph: onnx.GraphProto, weights: dict[str, np.ndarray]) -> None:
    """Change the types in a graph and in the bodies in it. Stubs' data were changed before."""
    _widen_tensors(graph.initializer, weights)
    for value in (*graph.input, *graph.output, *graph.value_info):
        _widen_type(value.type)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name in _TYPE_ATTRIBUTES and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.FLOAT
            if attribute.type == AttributeProto.TENSOR:
                _widen_tensors([attribute.t], weights)
        for body in subgraphs(node):
            _widen(body, weights)


def _widen_tensors(tensors: Iterable[onnx.TensorProto], weights: dict[str, np.ndarray]) -> None:
    for tensor in tensors:
        if tensor.data_type != TensorProto.FLOAT16:
            continue
        if is_stub(tensor):
            tensor.CopyFrom(stub(tensor.name, weights[tensor.name]))
        else:
            wide = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(wide, tensor.name))


def _widen_type(kind: onnx.TypeProto) -> None:
    held = kind.WhichOneof("value")
    if held in ("tensor_type", "sparse_tensor_type"):
        inner = getattr(kind, held)
        if inner.elem_type == TensorProto.FLOAT16:
            inner.elem_type = TensorProto.FLOAT
    elif held in ("sequence_type", "optional_type"):
        _widen_type(getattr(kind, held).elem_type)
