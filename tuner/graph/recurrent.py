"""Recurrent layers: LSTM, GRU and RNN with constant weights."""

from __future__ import annotations

from onnx import helper

from .analysis import Layer
from .context import Context

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
"""Matrices of each weight, one below the other along the axis of output channels."""


def find_recurrent(context: Context, i: int) -> Layer | str:
    """The layer that node `i` is, or the reason why its weights cannot be quantized, a clause.

    Its weights are W [directions, gates · hidden, inputs] and R [directions, gates · hidden, hidden]; the rows of a
    gate, common to both directions, are the output channels.
    """
    node = context.index.graph.node[i]
    x, *weights = node.input[:3]
    for weight in weights:
        if not context.is_constant(weight):
            return "already quantized" if context.dequantized(weight) else "its weights are not constant"
        if not context.is_float(weight) or not context.is_float(x):
            return "it does not compute in float32"
        if not context.is_finite(weight):
            return "its weights hold infinities or NaN"
    gates = GATES[node.op_type]
    dims = [context.dims(weight) for weight in weights]
    if any(len(shape) != 3 for shape in dims) or dims[0][1] != gates * dims[1][2] or not dims[0][2]:
        return "the shapes of its weights do not fit each other"
    outputs = [name for name in node.output if name]
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if attributes.get("layout", 0):
        return "its batch comes first, which ONNX Runtime does not run"
    return Layer(
        name=context.names[i],
        op_type=node.op_type,
        node=i,
        tail=(),
        inputs=(x,),
        output=outputs[0],
        weight=weights[0],
        weight_input=1,
        weight_axis=1,
        bias=None,
        group=context.names[i],
        reduction=gates * (dims[0][2] + dims[1][2]),
        more=((weights[1], 2),),
    )
