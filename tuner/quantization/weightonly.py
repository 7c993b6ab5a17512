"""Layers that compute in float with their weights on integers: which can, and how their nodes are written."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper

from ...strategies.words import WEIGHT_ONLY
from ..graph.analysis import Layer
from ..targets.base import Target
from . import blocks
from .scales import QuantizedWeight
from .weights import Weights
from .writer import Writer

DOMAIN = "com.microsoft"
ACCURACY = 4
"""MatMulNBits' accuracy_level: blocks of activations are rounded to int8, for integer products. An error of 0.5 % where
4-bit weights alone make one of 10 %, and 1.2 (128 rows) to 2.7 times (one row) as fast as level 0, which computes in
float (ONNX Runtime 1.31, AVX512-VNNI)."""


def refusals(layer: Layer, target: Target, weights: Weights, rank: int) -> Mapping[str, str]:
    """Precision of weights alone → why a layer cannot have it, one clause; not there where it can.

    Args:
        layer: The layer.
        target: The runtime's profile.
        weights: The model's constants.
        rank: Dimensions of the layer's input, 0 if unknown.
    """
    found = {precision: _refusal(precision, layer, target, weights, rank) for precision in WEIGHT_ONLY}
    return {precision: why for precision, why in found.items() if why}


def _refusal(precision: str, layer: Layer, target: Target, weights: Weights, rank: int) -> str:
    if layer.weight is None:
        return "both its operands are activations"
    offered = target.weight_only.get(layer.op_type, ())
    if precision not in offered:
        return f"the target {target.name} has no {precision} for {layer.op_type}"
    unfit = next((name for name in layer.weights if not weights.finite(name)), None)
    if unfit is not None:
        return f"its constant {unfit!r} holds NaN or infinity"
    if precision != "int4":
        return ""
    if len(weights.dims(layer.weight)) != 2:
        return f"its weight has {len(weights.dims(layer.weight))} dimensions, not 2"
    if layer.weight_input != 1:
        return "its weight is the left operand"
    return "its input is a vector" if rank == 1 else ""


def as_nbits(node: onnx.NodeProto, writer: Writer, name: str, quantized: QuantizedWeight) -> None:
    """Make a MatMul or Gemm one of 4-bit weights; its bias, if it has one, stays its own.

    Args:
        node: The layer's node, changed in place.
        writer: Of the graph.
        name: Of the float weight.
        quantized: That weight, in blocks.
    """
    assert quantized.axis is not None
    packed = blocks.pack(quantized)
    stem = f"{name}/{quantized.axis}/int4"
    inputs = [
        node.input[0],
        writer.constant(f"{stem}/q", packed.values),
        writer.constant(f"{stem}/scale", packed.scales),
    ]
    bias = node.input[2] if node.op_type == "Gemm" and len(node.input) > 2 else ""
    if packed.zero_points is not None:
        inputs.append(writer.constant(f"{stem}/zero", packed.zero_points))
    if bias:
        inputs += [""] * (5 - len(inputs)) + [bias]
    made = helper.make_node(
        "MatMulNBits",
        inputs,
        list(node.output),
        name=node.name,
        domain=DOMAIN,
        K=quantized.values.shape[1 - quantized.axis],
        N=quantized.values.shape[quantized.axis],
        bits=blocks.BITS,
        block_size=quantized.block,
        accuracy_level=ACCURACY,
    )
    node.CopyFrom(made)


def as_float(writer: Writer, stem: str, quantized: QuantizedWeight) -> str:
    """The float weight that integers stand for, computed from them when the model is loaded; returns its name.

    Integers · scale is written as Cast, Sub where there are zero points, and Mul. ONNX Runtime folds these when it
    loads a model and packs the result like any float weight. A DequantizeLinear it runs again with every inference,
    and between a DequantizeLinear and a QuantizeLinear of activations it would make one integer kernel of all.
    """
    shape = [1] * quantized.values.ndim
    if quantized.axis is not None:
        shape[quantized.axis] = -1
    integers = writer.constant(f"{stem}/q", quantized.values)
    scale = writer.constant(f"{stem}/scale", quantized.scale.reshape(shape))
    values = writer.add("Cast", [integers], writer.name(f"{stem}/unscaled"), to=TensorProto.FLOAT)
    if quantized.zero_point.any():
        zero = writer.constant(f"{stem}/zero", quantized.zero_point.astype(np.float32).reshape(shape))
        values = writer.add("Sub", [values, zero], writer.name(f"{stem}/moved"))
    return writer.add("Mul", [values, scale], writer.name(f"{stem}/float"))
