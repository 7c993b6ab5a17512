"""Tables: float constants that Gathers pick rows of and nothing else reads (embeddings)."""

from __future__ import annotations

from math import prod

from onnx import helper

from .analysis import Refusal, Table
from .context import Context

LEAST = 1024
"""Elements of the smallest: below, what is written beside the integers outweighs what they save."""


def find_tables(context: Context) -> tuple[list[Table], list[Refusal]]:
    """The tables of a graph, in order of their first readers, and those that have to stay in float."""
    index = context.index
    readers: dict[str, list[int]] = {}
    for i, node in enumerate(index.graph.node):
        if node.op_type == "Gather" and node.domain in ("", "ai.onnx") and _is_table(context, node.input[0]):
            readers.setdefault(node.input[0], []).append(i)
    found: list[Table] = []
    refused: list[Refusal] = []
    for weight, nodes in readers.items():
        first = nodes[0]
        rank = len(context.dims(weight))
        axes = {_axis(context, i) % rank for i in nodes}
        others = [i for i in index.consumers[weight] if i not in nodes]
        reason = ""
        if others:
            reason = f"its table is also what {context.names[others[0]]!r} reads"
        elif weight in index.outputs:
            reason = "its table is an output of the model"
        elif len(axes) > 1:
            reason = "its table is read along several axes"
        elif not context.is_finite(weight):
            reason = "its table holds infinities or NaN"
        if reason:
            refused.append(Refusal(context.names[first], "Gather", first, reason))
            continue
        outputs = tuple(index.graph.node[i].output[0] for i in nodes)
        found.append(Table(context.names[first], tuple(nodes), weight, axes.pop(), outputs))
    return found, refused


def _is_table(context: Context, name: str) -> bool:
    if not context.is_constant(name) or not context.is_float(name):
        return False
    dims = context.dims(name)
    return len(dims) >= 2 and prod(dims) >= LEAST


def _axis(context: Context, i: int) -> int:
    attributes = context.index.graph.node[i].attribute
    return next((int(helper.get_attribute_value(a)) for a in attributes if a.name == "axis"), 0)
