"""A newer opset for a graph whose operators mean the same in it."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import defs

from ..draft import opset
from ..index import subgraphs

# Changed between opset 13 and 17, but only in the types they take or by an attribute whose default is the old way.
_WIDENED = frozenset(
    {
        *("Add", "Sub", "Mul", "Div", "Relu", "Reshape", "Identity", "Pow", "Shape", "Where", "LeakyRelu", "PRelu"),
        *("GreaterOrEqual", "LessOrEqual", "CumSum", "If", "Loop", "Scan"),
    }
)


def raised(proto: onnx.ModelProto, version: int, *, apply: bool = True) -> bool:
    """Declare at least this version (17 at most) of the default domain, where no operator changed on the way.

    Returns:
        Whether that holds.
    """
    current = opset(proto)
    if current >= version:
        return True
    for op_type in set(_types(proto.graph)):
        try:
            since = defs.get_schema(op_type, version).since_version
            if since > current and not (op_type in _WIDENED and current >= 13):
                return False
        except defs.SchemaError:
            return False
    if apply:
        for entry in proto.opset_import:
            if entry.domain in ("", "ai.onnx"):
                entry.version = version
    return True


def _types(graph: onnx.GraphProto) -> Iterator[str]:
    for node in graph.node:
        if node.domain in ("", "ai.onnx"):
            yield node.op_type
        for body in subgraphs(node):
            yield from _types(body)
