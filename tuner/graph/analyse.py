"""What in a model can be quantized: layers, groups and glue, and why the rest cannot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import onnx

from .analysis import Analysis, Glue, Layer, Refusal
from .context import Context
from .glue import find_glue
from .index import GraphIndex, subgraphs
from .layers import COMPUTE, RECURRENT, find_layer
from .model import Model
from .names import cut, node_names
from .reasons import reason
from .shapes import tensor_types
from .tables import find_tables


def analyse(model: Model) -> Analysis:
    """Find layers, glue and refusals of a loaded model. Pure; a few milliseconds for a hundred layers."""
    graph = model.proto.graph
    names = [cut(name) for name in node_names(graph.node)]
    context = Context(GraphIndex(graph), tensor_types(model.proto), names, model.weights)
    layers: list[Layer] = []
    refusals: list[Refusal] = []
    for i, node in enumerate(graph.node):
        if node.op_type in (*COMPUTE, *RECURRENT) and _standard(node):
            found = find_layer(context, i)
            if isinstance(found, Layer):
                layers.append(found)
            else:
                refusals.append(Refusal(context.names[i], node.op_type, i, found))
    tails = {i for layer in layers for i in layer.tail}
    glue: list[Glue] = []
    for i, node in enumerate(graph.node):
        if (node.op_type in (*COMPUTE, *RECURRENT) and _standard(node)) or i in tails:
            continue
        role = find_glue(context, i)
        if isinstance(role, Glue):
            glue.append(role)
            continue
        why = role or reason(context, node)
        if why:
            refusals.append(Refusal(context.names[i], node.op_type, i, why))
        refusals.extend(_inside(context, i))
    layers = _grouped(layers)
    tables, refused = find_tables(context)
    told = {refusal.node for refusal in refusals}
    refusals += [refusal for refusal in refused if refusal.node not in told]
    refusals.sort(key=lambda refusal: refusal.node)
    return Analysis(tuple(layers), tuple(glue), tuple(refusals), _tensors(context, layers, glue), tuple(tables))


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
