"""Gemms of two activations, or with a constant on their left, as MatMul and Add, which have integer kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from .draft import Draft
from .index import GraphIndex
from .order import put_nodes
from .shapes import element_types


def free_gemms(draft: Draft) -> None:
    """Take those of the main graph apart. What reads a DequantizeLinear is quantized already and stays."""
    graph = draft.proto.graph
    index = GraphIndex(graph)
    chosen = [i for i, node in enumerate(graph.node) if _is_free(index, node)]
    types = element_types(draft.proto) if chosen else {}
    chosen = [i for i in chosen if all(types.get(x) == TensorProto.FLOAT for x in graph.node[i].input if x)]
    if not chosen:
        return
    nodes: list[onnx.NodeProto] = []
    for i, node in enumerate(graph.node):
        nodes += _apart(draft, index, node) if i in chosen else [node]
    draft.notes.append(
        f"{len(chosen)} Gemm{'' if len(chosen) == 1 else 's'} without a constant weight written as MatMul."
    )
    put_nodes(graph, nodes)


def _is_free(index: GraphIndex, node: onnx.NodeProto) -> bool:
    if node.op_type != "Gemm" or node.domain not in ("", "ai.onnx"):
        return False
    a, b = node.input[:2]
    if b in index.initializers:
        return False
    writers = (index.producer.get(name) for name in (a, b))
    return not any(i is not None and index.graph.node[i].op_type == "DequantizeLinear" for i in writers)


def _apart(draft: Draft, index: GraphIndex, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """What a Gemm computes, alpha · A' · B' + beta · C, by operators; the MatMul bears its name."""
    found = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    output = node.output[0]
    made: list[onnx.NodeProto] = []

    def add(op_type: str, inputs: list[str], what: str, name: str = "", **attributes: Any) -> str:
        written = draft.free_name(f"{output}/{what}")
        made.append(helper.make_node(op_type, inputs, [written], name=name, **attributes))
        return written

    def scaled(tensor: str, factor: float, what: str) -> str:
        if factor == 1.0:
            return tensor
        constant = draft.add_constant(draft.free_name(f"{output}/{what}"), np.asarray(factor, np.float32))
        return add("Mul", [tensor, constant], f"{what}/scaled")

    left, right = node.input[0], node.input[1]
    if found.get("transA", 0):
        held = index.initializers.get(left)
        if held is not None:
            turned = np.ascontiguousarray(draft.value(held).T)
            left = draft.add_constant(draft.free_name(f"{left}/turned"), turned)
        else:
            left = add("Transpose", [left], "left", perm=[1, 0])
    if found.get("transB", 0):
        right = add("Transpose", [right], "right", perm=[1, 0])
    result = scaled(add("MatMul", [left, right], "product", node.name), found.get("alpha", 1.0), "alpha")
    beta = found.get("beta", 1.0)
    if len(node.input) > 2 and node.input[2] and beta != 0.0:
        add("Add", [result, scaled(node.input[2], beta, "beta")], "sum")
    made[-1].output[0] = output
    return made
