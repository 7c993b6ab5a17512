"""Inputs whose first axis is time: recurrent layers read [time, batch, features], and samples do not lie along it."""

from __future__ import annotations

import onnx

_RECURRENT = frozenset(("LSTM", "GRU", "RNN"))
_FIRST = frozenset(
    ("Cast", "Identity", "Dropout", "Relu", "Tanh", "Sigmoid", "Clip", "Gelu", "MatMul", "LayerNormalization")
)
"""Their first input's first axis is their output's."""
_ALL = frozenset(("Add", "Sub", "Mul", "Div"))


def time_first(graph: onnx.GraphProto) -> frozenset[str]:
    """The graph inputs that a recurrent layer runs along the first axis of, through operators that keep that axis.

    A Transpose ends the search: what exporters put between a batch-first input and the layer.
    """
    producers = {name: node for node in graph.node for name in node.output}
    layers = [node for node in graph.node if node.op_type in _RECURRENT and not _batch_first(node)]
    left, seen = [node.input[0] for node in layers], set()
    while left:
        name = left.pop()
        if name in seen:
            continue
        seen.add(name)
        node = producers.get(name)
        if node is None:
            continue
        if node.op_type in _ALL:
            left += node.input
        elif node.op_type in _FIRST:
            left.append(node.input[0])
        elif node.op_type == "Gather" and not any(a.name == "axis" and a.i for a in node.attribute):
            left.append(node.input[1])  # an embedding: its indices are [time, batch]
    return frozenset(value.name for value in graph.input if value.name in seen)


def _batch_first(node: onnx.NodeProto) -> bool:
    return any(attribute.name == "layout" and attribute.i == 1 for attribute in node.attribute)
