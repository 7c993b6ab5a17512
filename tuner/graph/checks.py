"""Whether a graph is sound: what ONNX Runtime would refuse, refused before any work, and in words."""

from __future__ import annotations

import onnx
from onnx import checker, defs

from ...errors import ModelError
from .index import reads, subgraphs

_IR_VERSION = 8


def check_nodes(graph: onnx.GraphProto, version: int) -> None:
    """See that each standard operator exists in an opset and has the inputs and attributes it must have there.

    Raises:
        onnx.checker.ValidationError: One has not.
    """
    context = checker.C.CheckerContext()
    context.ir_version = _IR_VERSION
    context.opset_imports = {"": version}
    for node in graph.node:
        standard = node.domain in ("", "ai.onnx") and defs.has(node.op_type)
        if standard and not any(subgraphs(node)):
            checker.check_node(node, context)
        for body in subgraphs(node):
            check_nodes(body, version)


def check_wiring(graph: onnx.GraphProto, path: object) -> None:
    """See that every tensor read is written, once.

    Raises:
        ModelError: It is not: the file is corrupt.
    """
    known = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    known.update(tensor.values.name for tensor in graph.sparse_initializer)
    written: set[str] = set()
    for node in graph.node:
        for name in node.output:
            if name and (name in written or name in known):
                raise ModelError(f"{path} is corrupt: tensor {name!r} is written twice. Export it again.")
            written.add(name)
    known |= written
    for node in graph.node:
        for name in reads(node) - known:
            raise ModelError(
                f"{path} is corrupt: {node.op_type} {node.name!r} reads tensor {name!r}, which nothing writes. "
                "Export it again."
            )
    for value in graph.output:
        if value.name not in known:
            raise ModelError(f"{path} is corrupt: nothing writes its output {value.name!r}. Export it again.")
