"""Nodes that do nothing at inference: Identity, Dropout, a Cast to the type a tensor already has."""

from __future__ import annotations

import onnx
from onnx import numpy_helper

from .draft import Draft
from .index import GraphIndex, rename_reads
from .shapes import element_types


def remove_identities(draft: Draft) -> None:
    """Let the readers of such a node read its input. One that writes a graph output stays."""
    graph = draft.proto.graph
    types = element_types(draft.proto)
    index = GraphIndex(graph)
    renamed: dict[str, str] = {}
    gone = []
    for i, node in enumerate(graph.node):
        rename_reads(node, renamed)
        if index.outputs.intersection(node.output) or not _does_nothing(node, index, types):
            continue
        renamed[node.output[0]] = node.input[0]
        gone.append(i)
    draft.drop_nodes(gone)


def _does_nothing(node: onnx.NodeProto, index: GraphIndex, types: dict[str, int]) -> bool:
    if node.domain not in ("", "ai.onnx"):
        return False
    if node.op_type == "Dropout":
        mask_used = any(index.consumers.get(name) for name in node.output[1:] if name)
        return not mask_used and (len(node.input) < 3 or not node.input[2] or _is_false(index, node.input[2]))
    if node.op_type == "Cast":
        to = next((a.i for a in node.attribute if a.name == "to"), 0)
        return to != 0 and types.get(node.input[0]) == to
    return node.op_type == "Identity"


def _is_false(index: GraphIndex, name: str) -> bool:
    tensor = index.initializers.get(name)
    return tensor is not None and not numpy_helper.to_array(tensor).any()
