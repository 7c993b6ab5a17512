"""Operators without weights that can pass or compute int8."""

from __future__ import annotations

import onnx
from onnx import helper

from .analysis import Glue
from .context import Context

# operator → (which inputs are data; None: all of them, does it only move values)
_DATA: dict[str, tuple[tuple[int, ...] | None, bool]] = {
    "Add": (None, False),
    "Mul": (None, False),
    "Concat": (None, False),
    "Where": ((1, 2), False),
    "AveragePool": ((0,), False),
    "GlobalAveragePool": ((0,), False),
    "Sigmoid": ((0,), False),
    "HardSigmoid": ((0,), False),
    "LeakyRelu": ((0,), False),
    "Softmax": ((0,), False),
    "Relu": ((0,), False),
    "Clip": ((0,), False),
    "MaxPool": ((0,), True),
    "Resize": ((0,), True),
    "Transpose": ((0,), True),
    "Reshape": ((0,), True),
    "Flatten": ((0,), True),
    "Gather": ((0,), True),
    "Slice": ((0,), True),
    "Squeeze": ((0,), True),
    "Unsqueeze": ((0,), True),
    "Split": ((0,), True),
    "Pad": ((0,), True),
    "Expand": ((0,), True),
    "Tile": ((0,), True),
    "DepthToSpace": ((0,), True),
    "SpaceToDepth": ((0,), True),
    "ReduceMax": ((0,), True),
    "ReduceMin": ((0,), True),
}


def find_glue(context: Context, i: int) -> Glue | str | None:
    """Node `i` as glue; a clause why not where it is of such a type but cannot be; None where it is none at all.

    Integer and shape arithmetic is no glue.
    """
    node = context.index.graph.node[i]
    if node.op_type not in _DATA or node.domain not in ("", "ai.onnx"):
        return None
    which, passes = _DATA[node.op_type]
    data = [name for k, name in enumerate(node.input) if name and (which is None or k in which)]
    outputs = [name for name in node.output if name]
    if not data or not outputs or not all(map(context.is_float, (*data, outputs[0]))):
        return None
    inputs = [name for name in data if not context.is_constant(name)]
    constants = [name for name in data if context.is_constant(name)]
    reason = _trouble(context, node)
    if not all(map(context.is_finite, constants)):
        reason = "it reads a constant with infinities"
    if reason:
        return reason
    if node.op_type == "MaxPool":
        outputs = outputs[:1]
    return Glue(
        name=context.names[i],
        op_type=node.op_type,
        node=i,
        passes=passes,
        inputs=tuple(dict.fromkeys(inputs)),
        constants=tuple(dict.fromkeys(constants)),
        outputs=tuple(outputs),
    )


def _trouble(context: Context, node: onnx.NodeProto) -> str:
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if node.op_type == "Resize" and attributes.get("mode", b"nearest") != b"nearest":
        return f"it interpolates ({attributes['mode'].decode()})"
    if node.op_type == "AveragePool" and any(step != 1 for step in attributes.get("dilations", ())):
        return "it is dilated"
    if node.op_type == "MaxPool" and len(node.output) > 1 and node.output[1]:
        return "it returns indices too"
    if node.op_type == "Clip" and not all(context.is_constant(name) for name in node.input[1:] if name):
        return "its bounds are not constant"
    if node.op_type == "Pad" and attributes.get("mode", b"constant") == b"constant":
        return _pad_trouble(context, node)
    return ""


def _pad_trouble(context: Context, node: onnx.NodeProto) -> str:
    value = node.input[2] if len(node.input) > 2 else ""
    if not value:
        return ""
    if not context.is_constant(value):
        return "its padding value is not constant"
    tensor = context.index.initializers[value]
    return (
        ""
        if float(onnx.numpy_helper.to_array(tensor).reshape(-1)[0]) == 0.0
        else "it pads with another value than zero"
    )
