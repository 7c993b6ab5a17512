"""What a candidate costs by count, without a clock: bit operations and weight bytes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ...strategies.words import LAYER, TABLE
from ..graph.analysis import Analysis, Layer
from ..graph.model import Model
from ..graph.recurrent import GATES

_BITS = {"int8": (8, 8), "int16": (16, 8), "int4": (32, 4), "weight8": (32, 8), "fp16": (16, 16), "fp32": (32, 32)}
"""Precision → bits of the activations and of the weights."""

_WHOLE = 32
_STATE = 3
"""Dimensions of a recurrent layer's last state; all its states have 4."""

Shapes = Mapping[str, Sequence[int]]


def ops(analysis: Analysis, shapes: Shapes, layers: Mapping[str, str], weight_bits: int = 8) -> float:
    """Bit operations of the compute layers relative to float32.

    A layer costs macs · bits of its activations · bits of its weights (BOPs: Baskin et al. 2018, UNIQ;
    van Baalen et al. 2020, Bayesian Bits).

    Args:
        analysis: The model's layers.
        shapes: Tensor → its shape in one feed.
        layers: Layer name → precision.
        weight_bits: Bits of an int8 layer's weights.

    Returns:
        1 with every layer in float32, 1/16 with every layer in 8 bits; 1 for a model without layers.
    """
    macs = _macs(analysis, shapes)
    total = sum(macs.values())
    if total == 0:
        return 1.0
    spent = 0.0
    for layer in analysis.layers:
        precision = layers.get(layer.name, "fp32")
        activation, by = _BITS[precision]
        if precision == "int8":
            by = weight_bits
        spent += macs[layer.name] * activation * (activation if layer.weight is None else by)
    return spent / (total * _WHOLE**2)


def shares(analysis: Analysis, model: Model, shapes: Shapes, objective: str = "ops") -> dict[str, float]:
    """What each layer (and table) parameter could gain: its share of the float model's cost; sums to 1.

    Args:
        analysis: The model's layers.
        model: The float model, for the size of its weights.
        shapes: Tensor → its shape in one feed.
        objective: `size` counts the bytes of weights, all others bit operations.

    Returns:
        `layer/<group>`, and of bytes `table/<name>`, → share. Equal shares where nothing can be counted.
    """
    parts: dict[str, float] = {}
    if objective == "size":
        dims = {tensor.name: tensor.dims for tensor in model.proto.graph.initializer}
        for group, layers in analysis.groups.items():
            weights = {name for layer in layers for name in layer.weights}
            parts[LAYER + group] = float(sum(math.prod(dims[name]) for name in weights))
        parts |= {TABLE + table.name: float(math.prod(dims[table.weight])) for table in analysis.tables}
    else:
        macs = _macs(analysis, shapes)
        for group, layers in analysis.groups.items():
            parts[LAYER + group] = float(sum(macs[layer.name] for layer in layers))
    total = sum(parts.values())
    if total == 0:
        return {name: 1.0 / len(parts) for name in parts}
    return {name: part / total for name, part in parts.items()}


def _macs(analysis: Analysis, shapes: Shapes) -> dict[str, int]:
    """Layer name → multiply-accumulates; 1 for each when none can be counted."""
    found = {layer.name: _count(layer, shapes) for layer in analysis.layers}
    return found if any(found.values()) else dict.fromkeys(found, 1)


def _count(layer: Layer, shapes: Shapes) -> int:
    """Multiply-accumulates of one layer, 0 where its output was never seen (a branch not taken)."""
    output = shapes.get(layer.output)
    reduction = layer.reduction
    if reduction is None and layer.op_type == "MatMul" and shapes.get(layer.inputs[0]):
        reduction = shapes[layer.inputs[0]][-1]
    if output is None or reduction is None:
        return 0
    if layer.op_type in GATES and len(output) == _STATE:  # the last of as many states as the sequence is long
        return math.prod(output) * reduction * shapes.get(layer.inputs[0], (1,))[0]
    return math.prod(output) * reduction
