"""What a file holds on 8 bits beside the layers that Q and DQ surround: tables, and the weights of an integer LSTM."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto

from ...strategies.words import WEIGHT_GRANULARITY, WEIGHT_RANGE
from ..graph.analysis import Layer, Table
from . import scales
from .candidate import Quantization
from .scales import QuantizedWeight
from .weightonly import DOMAIN
from .weights import Scheme, Weights
from .writer import Writer

BITS = 8
_ROWS_LAST = (0, 2, 1)
_PEEPHOLES = 7
"""The last input of an LSTM."""


class Stored:
    """What one build writes so.

    Args:
        writer: The graph being written.
        weights: The float model's constants.
        recipe: The weight granularity and range of tables and LSTMs; they are symmetric.
        simulate: Whether constants are rounded and stay float32.
    """

    def __init__(self, writer: Writer, weights: Weights, recipe: Mapping[str, str], simulate: bool) -> None:
        self._writer = writer
        self._weights = weights
        self._per_channel = recipe.get(WEIGHT_GRANULARITY, "per_channel") == "per_channel"
        self._clipped = recipe.get(WEIGHT_RANGE) == "mse"
        self._simulate = simulate

    def table(self, node: onnx.NodeProto, table: Table) -> dict[str, Quantization]:
        """Make a Gather pick integers, then scale what it picked; the node turns into the last of these.

        With a scale for each row the scales are picked likewise.

        Returns:
            How the table is quantized.
        """
        quantized = self._quantized(table.weight, table.axis, BITS)
        writer, output, axis = self._writer, node.output[0], table.axis
        if self._simulate:
            node.input[0] = self._rounded(table.weight, quantized)
            return {table.weight: recorded(quantized)}
        integers, scale = self._parts(f"{table.weight}/table", quantized)
        picked = writer.add("Gather", [integers, node.input[1]], writer.name(f"{output}/q"), axis=axis)
        unscaled = writer.add("Cast", [picked], writer.name(f"{output}/unscaled"), to=TensorProto.FLOAT)
        if quantized.axis is not None:
            scale = writer.add("Gather", [scale, node.input[1]], writer.name(f"{output}/scale"), axis=axis)
        node.CopyFrom(onnx.NodeProto(op_type="Mul", name=node.name, input=[unscaled, scale], output=[output]))
        return {table.weight: recorded(quantized)}

    def lstm(self, node: onnx.NodeProto, layer: Layer, bits: int) -> dict[str, Quantization]:
        """Make an LSTM ONNX Runtime's DynamicQuantizeLSTM, which quantizes what it reads as it comes.

        Its weights are [directions, inputs, 4 · hidden], their scales [directions, 4 · hidden].

        Args:
            node: The LSTM.
            layer: What the analysis says of it.
            bits: Of its weights: 7 where 8-bit products saturate.

        Returns:
            How its weights are quantized.
        """
        quantized = {name: self._quantized(name, layer.weight_axis, bits) for name in layer.weights}
        made = {name: recorded(each) for name, each in quantized.items()}
        if self._simulate:
            for position, name in enumerate(layer.weights, start=1):
                node.input[position] = self._rounded(name, quantized[name])
            return made
        inputs = [*node.input, *[""] * (_PEEPHOLES + 1 - len(node.input))]
        for position, name in enumerate(layer.weights, start=1):
            each = quantized[name]
            turned = np.ascontiguousarray(each.values.transpose(_ROWS_LAST))
            scale = np.array(np.broadcast_to(each.scale, each.values.shape[:2]))
            inputs[position] = self._writer.constant(f"{name}/lstm/q", turned)
            inputs.append(self._writer.constant(f"{name}/lstm/scale", scale))
            inputs.append(self._writer.constant(f"{name}/lstm/zero", np.zeros(scale.shape, np.int8)))
        node.op_type, node.domain = "DynamicQuantizeLSTM", DOMAIN
        del node.input[:]
        node.input.extend(inputs)
        return made

    def _quantized(self, name: str, axis: int | None, bits: int) -> QuantizedWeight:
        return self._weights.of(name, Scheme(axis if self._per_channel else None, True, bits, clipped=self._clipped))

    def _rounded(self, name: str, quantized: QuantizedWeight) -> str:
        return self._writer.constant(f"{name}/rounded{quantized.axis}", scales.dequantize(quantized))

    def _parts(self, stem: str, quantized: QuantizedWeight) -> tuple[str, str]:
        """The integers, and their scales in a shape that fits them."""
        scale = quantized.scale.reshape(_along(quantized))
        return self._writer.constant(f"{stem}/q", quantized.values), self._writer.constant(f"{stem}/scale", scale)


def _along(quantized: QuantizedWeight) -> tuple[int, ...]:
    """The shape that spreads a value per channel over the weight."""
    rank = quantized.values.ndim if quantized.axis is not None else 0
    return tuple(-1 if axis == quantized.axis else 1 for axis in range(rank))


def recorded(quantized: QuantizedWeight) -> Quantization:
    """How a weight is quantized."""
    return Quantization(quantized.scale, quantized.zero_point, str(quantized.values.dtype), quantized.axis)
