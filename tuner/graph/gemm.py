"""Every Gemm with a constant weight as x·W + b, b one value per output channel: what integer kernels compute.

Factors go into the constants; a transposed input, and a bias that is a matrix or no constant, become operators of their
own. Runtimes fuse them again in float where they can.
"""

from __future__ import annotations

from math import prod

import numpy as np
import onnx
from onnx import TensorProto, helper

from .draft import Draft
from .index import GraphIndex
from .layers import vector
from .order import put_nodes


def plain_gemms(draft: Draft) -> None:
    """Bring the Gemms of the main graph into that form."""
    graph = draft.proto.graph
    index = GraphIndex(graph)
    nodes: list[onnx.NodeProto] = []
    changed = 0
    for node in graph.node:
        before: list[onnx.NodeProto] = []
        behind: list[onnx.NodeProto] = []
        if node.op_type == "Gemm" and node.domain in ("", "ai.onnx") and _is_float(index, node.input[1]):
            was = node.SerializeToString(deterministic=True)
            before, behind = _plain(draft, index, node)
            changed += was != node.SerializeToString(deterministic=True)
        nodes += [*before, node, *behind]
    if not changed:
        return
    draft.notes.append(f"{changed} Gemm{'' if changed == 1 else 's'} brought into the form x·W + b.")
    put_nodes(graph, nodes)


def _is_float(index: GraphIndex, name: str) -> bool:
    tensor = index.initializers.get(name)
    return tensor is not None and tensor.data_type == TensorProto.FLOAT


def _plain(draft: Draft, index: GraphIndex, node: onnx.NodeProto) -> tuple[list[onnx.NodeProto], list[onnx.NodeProto]]:
    """Change one Gemm; the nodes that come before and behind it."""
    found = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    alpha, beta = found.get("alpha", 1.0), found.get("beta", 1.0)
    bias = node.input[2] if len(node.input) > 2 else ""
    constant = not bias or _is_float(index, bias)
    if not np.isfinite([alpha, beta]).all():
        return [], []
    dims = list(index.initializers[node.input[1]].dims)
    if len(dims) != 2 or not prod(dims):
        return [], []
    channels = dims[0] if found.get("transB", 0) else dims[1]
    before: list[onnx.NodeProto] = []
    if found.get("transA", 0):
        turned = draft.free_name(f"{node.output[0]}/turned")
        before.append(helper.make_node("Transpose", [node.input[0]], [turned], perm=[1, 0]))
        node.input[0] = turned
    if alpha != 1.0:
        node.input[1] = _scaled(draft, index, node.input[1], alpha)
    behind: list[onnx.NodeProto] = []
    if bias and beta == 0.0:
        del node.input[2:]
    elif bias and constant:
        if beta != 1.0:
            bias = node.input[2] = _scaled(draft, index, bias, beta)
        shape = tuple(index.initializers[bias].dims)
        if prod(shape) == 1 and channels > 1:
            node.input[2] = _put(
                draft, index, f"{bias}/spread", np.full(channels, draft.value(index.initializers[bias]))
            )
        elif vector(shape) != channels:
            behind = _apart(draft, node)
    elif bias:
        behind = _apart(draft, node, beta)
    kept = onnx.NodeProto(attribute=[a for a in node.attribute if a.name == "transB"])
    del node.attribute[:]
    node.attribute.MergeFrom(kept.attribute)
    return before, behind


def _apart(draft: Draft, node: onnx.NodeProto, beta: float = 1.0) -> list[onnx.NodeProto]:
    """The bias of a Gemm, times a factor, as an Add of its own."""
    output, bias = node.output[0], node.input[2]
    scaled: list[onnx.NodeProto] = []
    if beta != 1.0:
        factor = draft.add_constant(draft.free_name(f"{output}/beta"), np.asarray(beta, np.float32))
        scaled = [helper.make_node("Mul", [bias, factor], [draft.free_name(f"{output}/bias")])]
        bias = scaled[0].output[0]
    node.output[0] = draft.free_name(f"{output}/product")
    del node.input[2:]
    return [*scaled, helper.make_node("Add", [node.output[0], bias], [output])]


def _scaled(draft: Draft, index: GraphIndex, name: str, factor: float) -> str:
    values = draft.value(index.initializers[name])
    return _put(draft, index, f"{name}/scaled", (values * np.float32(factor)).astype(np.float32))


def _put(draft: Draft, index: GraphIndex, wanted: str, array: np.ndarray) -> str:
    name = draft.add_constant(draft.free_name(wanted), array)
    index.initializers[name] = draft.proto.graph.initializer[-1]
    return name
