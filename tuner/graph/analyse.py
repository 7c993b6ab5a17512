"""What in a model can be quantized: layers, groups and glue, and why the rest cannot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import onnx

from .analysis import Analysis, Glue, Layer, Refusal
from .glue import find_glue
from .index import GraphIndex, subgraphs
from .layers import COMPUTE, FUSED, INTEGER, RECURRENT, Context, find_layer
from .model import Model
from .names import cut, node_names
from .shapes import tensor_types

_SILENT = frozenset(("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Cast", "Identity", "Constant"))
_SILENT_SHAPES = frozenset(("ConstantOfShape", "Range", "Shape", "Size"))


def analyse(model: Model) -> Analysis:
    """Find layers, glue and refusals of a loaded model. Pure; a few milliseconds for a hundred layers."""
    graph = model.proto.graph
    names = [cut(name) for name in node_names(graph.node)]
    context = Context(GraphIndex(graph), tensor_types(model.proto), names, model.weights)
    layers: list[Layer] = []
    refusals: list[Refusal] = []
    for i, node in enumerate(graph.node):
        if node.op_type in COMPUTE and _standard(node):
            found = find_layer(context, i)
            if isinstance(found, Layer):
                layers.append(found)
            else:
                refusals.append(Refusal(context.names[i], node.op_type, i, found))
    tails = {i for layer in layers for i in layer.tail}
    glue: list[Glue] = []
    for i, node in enumerate(graph.node):
        if (node.op_type in COMPUTE and _standard(node)) or i in tails:
            continue
        role = find_glue(context, i)
        if isinstance(role, Glue):
            glue.append(role)
            continue
        reason = role or _reason(context, node)
        if reason:
            refusals.append(Refusal(context.names[i], node.op_type, i, reason))
        refusals.extend(_inside(context, i))
    layers = _grouped(layers)
    refusals.sort(key=lambda refusal: refusal.node)
    return Analysis(tuple(layers), tuple(glue), tuple(refusals), _tensors(context, layers, glue))


def _standard(node: onnx.NodeProto) -> bool:
    return node.domain in ("", "ai.onnx")


def _grouped(layers: list[Layer]) -> list[Layer]:
    """Layers that share a weight carry the name of the first of them as their group."""
    first: dict[str, str] = {}
    return [
        replace(layer, group=first.setdefault(layer.weight, layer.name)) if layer.weight is not None else layer
        for layer in layers
    ]


def _tensors(context: Context, layers: list[Layer], glue: list[Glue]) -> tuple[str, ...]:
    """Float activations read or written by layers and glue: graph inputs first, then in the order they are written."""
    wanted = {name for layer in layers for name in (*layer.inputs, layer.output)}
    wanted.update(name for item in glue for name in (*item.inputs, *item.outputs))
    order = [value.name for value in context.index.graph.input]
    order += [name for node in context.index.graph.node for name in node.output if name]
    return tuple(name for name in order if name in wanted)


def _reason(context: Context, node: onnx.NodeProto) -> str:
    """Why a node that is neither layer nor glue stays in float; "" where nobody would ask."""
    if node.op_type in RECURRENT:
        return "recurrent layers are not quantized"
    if node.op_type in INTEGER or node.op_type.startswith("QLinear"):
        return "already quantized"
    if node.op_type in _SILENT or node.op_type in _SILENT_SHAPES or any(subgraphs(node)):
        return ""
    floats = ("float", "double", "float16", "bfloat16")
    elements = {_element(context, name) for name in (*node.input, *node.output) if name}
    if not elements.intersection(floats) and elements:
        return ""
    wide = elements.intersection(floats[1:])
    if wide and "float" not in elements:
        return f"it computes in {wide.pop()}"
    if node.op_type in FUSED and not _standard(node):
        return "already fused by an optimizer; start from the model before it was optimized"
    where = "" if _standard(node) else f"{node.domain}."
    return f"{where}{node.op_type} has no integer kernel"


def _element(context: Context, name: str) -> str:
    known = context.types.get(name)
    return onnx.TensorProto.DataType.Name(known.element).lower() if known and known.element else "undefined"


def _inside(context: Context, i: int) -> Iterator[Refusal]:
    """Compute operators in the bodies of a control-flow node."""
    outer = context.index.graph.node[i]
    for body in subgraphs(outer):
        for node in _all_nodes(body):
            if node.op_type in (*COMPUTE, *RECURRENT):
                name = node.name or f"{node.op_type}:{node.output[0]}"
                yield Refusal(cut(name), node.op_type, i, f"inside the body of {outer.op_type} {context.names[i]!r}")


def _all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for body in subgraphs(node):
            yield from _all_nodes(body)
