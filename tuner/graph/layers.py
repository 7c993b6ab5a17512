"""Which compute operators can be quantized, and what fuses into them."""

from __future__ import annotations

from math import prod

import onnx
from onnx import TensorProto, helper

from .analysis import Layer
from .context import Context
from .recurrent import find_recurrent

COMPUTE = ("Conv", "ConvTranspose", "MatMul", "Gemm")
RECURRENT = ("LSTM", "GRU", "RNN")


def find_layer(context: Context, i: int) -> Layer | str:
    """The layer that node `i` is, or the reason why it cannot be quantized, a clause.

    Node `i` is one of `COMPUTE` or `RECURRENT`. The layer's group is its own name; the caller joins those that share
    a weight.
    """
    node = context.index.graph.node[i]
    if node.op_type in ("Conv", "ConvTranspose"):
        return _conv(context, i)
    if node.op_type in RECURRENT:
        return find_recurrent(context, i)
    return _gemm(context, i) if node.op_type == "Gemm" else _matmul(context, i)


def _operands(context: Context, i: int) -> tuple[str, str, str | None, str]:
    """(input, weight, bias or None, the reason why they cannot be quantized or the empty string) of a Conv or Gemm."""
    node = context.index.graph.node[i]
    x, weight = node.input[0], node.input[1]
    bias = node.input[2] if len(node.input) > 2 and node.input[2] else None
    reason = _weight_trouble(context, weight) or _input_trouble(context, [x]) or _bias_trouble(context, bias)
    return x, weight, bias, reason


def _conv(context: Context, i: int) -> Layer | str:
    node = context.index.graph.node[i]
    x, weight, bias, reason = _operands(context, i)
    if reason:
        return reason
    dims = context.dims(weight)
    if not 3 <= len(dims) <= 5:
        return f"its weight has {len(dims)} dimensions"
    if node.op_type == "Conv":
        return _layer(context, i, [x], weight=(weight, 1, 0), bias=bias, tail=_activation(context, i), k=prod(dims[1:]))
    # every input element is spread over the kernel, every output element sums what strides leave of it
    strides = next((list(a.ints) for a in node.attribute if a.name == "strides"), [1])
    k = max(1, dims[0] // int(_attribute(node, "group", 1)) * prod(dims[2:]) // prod(strides))
    return _layer(context, i, [x], weight=(weight, 1, 1), bias=bias, tail=_activation(context, i), k=k)


def _gemm(context: Context, i: int) -> Layer | str:
    node = context.index.graph.node[i]
    x, weight, bias, reason = _operands(context, i)
    if reason:
        return reason
    for name, plain in (("alpha", 1.0), ("beta", 1.0), ("transA", 0)):
        if _attribute(node, name, plain) != plain and (name != "beta" or bias):
            return f"{name} is {_attribute(node, name, plain):g}"
    axis = 0 if _attribute(node, "transB", 0) else 1
    dims = context.dims(weight)
    if bias and vector(context.dims(bias)) != dims[axis]:
        return "its bias is not one value per output channel"
    return _layer(context, i, [x], weight=(weight, 1, axis), bias=bias, tail=_activation(context, i), k=dims[1 - axis])


def _matmul(context: Context, i: int) -> Layer | str:
    a, b = context.index.graph.node[i].input[:2]
    constant = [context.is_constant(a), context.is_constant(b)]
    if all(constant):
        return "both operands are constant"
    if not any(constant):
        if context.dequantized(a) and context.dequantized(b):
            return "already quantized"
        shape = context.types[a].shape if a in context.types else None
        k = shape[-1] if shape and isinstance(shape[-1], int) else None
        return _input_trouble(context, [a, b]) or _layer(context, i, [a, b], k=k)
    side = constant.index(True)
    weight, x = (b, a) if side else (a, b)
    reason = _weight_trouble(context, weight) or _input_trouble(context, [x])
    if reason:
        return reason
    dims = context.dims(weight)
    if len(dims) < 2:
        return "its weight is a vector"
    # ONNX Runtime takes one scale for a weight of more than two dimensions and fails at run time with more
    axis = (1 if side else 0) if len(dims) == 2 else None
    k = dims[-2] if side else dims[-1]
    tail = _bias_add(context, i, dims[-1]) if side else ()
    return _layer(context, i, [x], weight=(weight, side, axis), tail=tail, k=k)


def _layer(
    context: Context,
    i: int,
    inputs: list[str],
    *,
    weight: tuple[str, int, int | None] | None = None,
    bias: str | None = None,
    tail: tuple[int, ...] = (),
    k: int | None = None,
) -> Layer:
    nodes = context.index.graph.node
    return Layer(
        name=context.names[i],
        op_type=nodes[i].op_type,
        node=i,
        tail=tail,
        inputs=tuple(inputs),
        output=nodes[tail[-1] if tail else i].output[0],
        weight=weight[0] if weight else None,
        weight_input=weight[1] if weight else None,
        weight_axis=weight[2] if weight else None,
        bias=bias,
        group=context.names[i],
        reduction=k,
    )


def _weight_trouble(context: Context, weight: str) -> str:
    if context.dequantized(weight):
        return "already quantized"
    if not context.is_constant(weight):
        return "its weight is not constant"
    element = context.index.initializers[weight].data_type
    if element != TensorProto.FLOAT:
        return f"its weight is {TensorProto.DataType.Name(element).lower()}, not float32"
    return "" if prod(context.dims(weight)) else "its weight is empty"


def _input_trouble(context: Context, inputs: list[str]) -> str:
    for name in inputs:
        element = context.types[name].element if name in context.types else 0
        if element not in (TensorProto.FLOAT, 0):
            return f"its input is {TensorProto.DataType.Name(element).lower()}, not float32"
    return ""


def _bias_trouble(context: Context, bias: str | None) -> str:
    if bias is None or context.is_constant(bias):
        return ""
    return "already quantized" if context.dequantized(bias) else "its bias is not constant"


def _attribute(node: onnx.NodeProto, name: str, default: float) -> float:
    return next((float(helper.get_attribute_value(a)) for a in node.attribute if a.name == name), default)


def vector(dims: tuple[int, ...]) -> int | None:
    """Length of a shape like [N], [1, N], [1, 1, N]; None for others."""
    return dims[-1] if dims and prod(dims) == dims[-1] else None


def _activation(context: Context, i: int) -> tuple[int, ...]:
    """The Relu or constant Clip that fuses behind a node, none if others read in between."""
    follower = context.index.sole_consumer(context.index.graph.node[i].output[0])
    if follower is None:
        return ()
    node = context.index.graph.node[follower]
    if node.op_type == "Relu":
        return (follower,)
    bounds_constant = all(context.is_constant(name) for name in node.input[1:] if name)
    return (follower,) if node.op_type == "Clip" and bounds_constant else ()


def _bias_add(context: Context, i: int, channels: int) -> tuple[int, ...]:
    """The Add of a constant bias behind a MatMul."""
    output = context.index.graph.node[i].output[0]
    follower = context.index.sole_consumer(output)
    if follower is None or context.index.graph.node[follower].op_type != "Add":
        return ()
    other = next((name for name in context.index.graph.node[follower].input if name != output), "")
    if not context.is_constant(other) or vector(context.dims(other)) != channels:
        return ()
    return (follower,)
