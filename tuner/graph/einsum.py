"""Einsums that are one matrix product, as MatMul, for which runtimes have integer kernels.

The labels of a product of A and B fall into four groups: batch (in both and in the result), rows (of A alone), columns
(of B alone) and those summed over (in both, not in the result). A constant operand has no batch, and may have several
columns or sums, as a projection to heads has ("bsd,dhk->bshk"): its data are put in order and flattened here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from .draft import Draft
from .index import GraphIndex
from .order import put_nodes
from .shapes import element_types

_PLAIN = re.compile(r"([A-Za-z]+),([A-Za-z]+)(?:->([A-Za-z]+))?")


@dataclass(frozen=True)
class _Labels:
    """The labels of A, B and the result, and their groups, each in A's order (columns in B's)."""

    a: str
    b: str
    out: str
    batch: str
    rows: str
    columns: str
    summed: str


def einsums_to_matmuls(draft: Draft) -> None:
    """Write those of the main graph so."""
    graph = draft.proto.graph
    if not any(node.op_type == "Einsum" for node in graph.node):
        return
    types = element_types(draft.proto)
    index = GraphIndex(graph)
    nodes: list[onnx.NodeProto] = []
    changed = 0
    for node in graph.node:
        made = None
        floats = all(types.get(name) == TensorProto.FLOAT for name in node.input)
        if node.op_type == "Einsum" and node.domain in ("", "ai.onnx") and floats:
            made = _product(draft, index, node)
        nodes += made or [node]
        changed += made is not None
    if not changed:
        return
    draft.notes.append(f"{changed} Einsum{'' if changed == 1 else 's'} written as MatMul.")
    put_nodes(graph, nodes)


def _product(draft: Draft, index: GraphIndex, node: onnx.NodeProto) -> list[onnx.NodeProto] | None:
    """The nodes of one Einsum, None where it is no such product."""
    equation = helper.get_node_attr_value(node, "equation")
    found = _parsed(equation.decode() if isinstance(equation, bytes) else str(equation))
    if found is None or len(node.input) != 2:
        return None
    constant = [name in index.initializers for name in node.input]
    if all(constant):
        return None
    if constant[0]:  # the product the other way round
        swapped = _Labels(found.b, found.a, found.out, found.batch, found.columns, found.rows, found.summed)
        return _projection(draft, index, node, swapped, node.input[1], node.input[0])
    if constant[1]:
        return _projection(draft, index, node, found, node.input[0], node.input[1])
    if min(map(len, (found.rows, found.columns, found.summed))) != 1:
        return None
    if max(map(len, (found.rows, found.columns, found.summed))) != 1:
        return None
    writer = _Nodes(draft, node)
    left = writer.turned(node.input[0], found.a, found.batch + found.rows + found.summed)
    right = writer.turned(node.input[1], found.b, found.batch + found.summed + found.columns)
    return writer.finished(writer.matmul(left, right), found.batch + found.rows + found.columns, found.out)


def _projection(
    draft: Draft, index: GraphIndex, node: onnx.NodeProto, labels: _Labels, x: str, weight: str
) -> list[onnx.NodeProto] | None:
    """x·W with W constant; None where W has a batch."""
    tensor = index.initializers[weight]
    if labels.batch or not labels.summed or not labels.columns or len(tensor.dims) != len(labels.b):
        return None
    sizes = dict(zip(labels.b, tensor.dims, strict=True))
    order = [labels.b.index(label) for label in labels.summed + labels.columns]
    shape = [prod(sizes[label] for label in group) for group in (labels.summed, labels.columns)]
    if not prod(shape):
        return None
    values = np.ascontiguousarray(draft.value(tensor).transpose(order)).reshape(shape)
    writer = _Nodes(draft, node)
    matrix = weight
    if list(tensor.dims) != shape or order != [0, 1]:
        matrix = draft.add_constant(draft.free_name(f"{weight}/matrix"), values)
    left = writer.turned(x, labels.a, labels.rows + labels.summed)
    kept = [0] * len(labels.rows)  # as they come
    if len(labels.summed) > 1:
        left = writer.reshaped(left, [*kept, shape[0]])
    made = writer.matmul(left, matrix)
    if len(labels.columns) > 1:
        made = writer.reshaped(made, [*kept, *(int(sizes[label]) for label in labels.columns)])
    return writer.finished(made, labels.rows + labels.columns, labels.out)


class _Nodes:
    """The nodes in place of one Einsum; the MatMul bears its name, the last writes its output."""

    def __init__(self, draft: Draft, node: onnx.NodeProto) -> None:
        self._draft = draft
        self._node = node
        self._made: list[onnx.NodeProto] = []

    def turned(self, x: str, labels: str, wanted: str) -> str:
        if labels == wanted:
            return x
        return self._add("Transpose", [x], "turned", perm=[labels.index(label) for label in wanted])

    def reshaped(self, x: str, shape: list[int]) -> str:
        wanted = self._draft.free_name(f"{self._node.output[0]}/shape")
        return self._add("Reshape", [x, self._draft.add_constant(wanted, np.array(shape, np.int64))], "shaped")

    def matmul(self, left: str, right: str) -> str:
        made = self._add("MatMul", [left, right], "product")
        self._made[-1].name = self._node.name
        return made

    def finished(self, made: str, labels: str, wanted: str) -> list[onnx.NodeProto]:
        self.turned(made, labels, wanted)
        self._made[-1].output[0] = self._node.output[0]
        return self._made

    def _add(self, op_type: str, inputs: list[str], what: str, **attributes: Any) -> str:
        output = self._draft.free_name(f"{self._node.output[0]}/{what}")
        self._made.append(helper.make_node(op_type, inputs, [output], **attributes))
        return output


def _parsed(equation: str) -> _Labels | None:
    """The labels; None for an ellipsis, a diagonal, or a label that only one operand has and the result has not."""
    matched = _PLAIN.fullmatch(equation.replace(" ", ""))
    if matched is None:
        return None
    a, b, out = matched[1], matched[2], matched[3]
    if out is None:  # every label of one operand alone, in alphabetical order
        out = "".join(sorted(label for label in set(a + b) if (a + b).count(label) == 1))
    if any(len(set(labels)) != len(labels) for labels in (a, b, out)) or not set(out) <= set(a + b):
        return None
    both = [label for label in a if label in b]
    groups = (
        "".join(label for label in both if label in out),
        "".join(label for label in a if label not in b),
        "".join(label for label in b if label not in a),
        "".join(label for label in both if label not in out),
    )
    if not set(groups[1] + groups[2]) <= set(out):
        return None
    return _Labels(a, b, out, *groups)
