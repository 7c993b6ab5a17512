"""The biases of one build: int32 where the target's kernels want that, and corrected where the recipe does."""

from __future__ import annotations

import numpy as np
import onnx

from ...strategies.words import WEIGHT_ONLY
from ..graph.analysis import Layer
from . import scales
from .candidate import Quantization
from .fusing import of_rank
from .mended import Mended
from .pairs import Pairs
from .plan import Plan
from .scales import QuantizedWeight
from .writer import Writer


class Biasing:
    """Writes them.

    Args:
        plan: What is built.
        writer: Of the graph.
        mended: What corrections make of the biases.
        pairs: Where the scales of what layers read are.
        made: Tensor → how it is quantized, filled here for biases.
    """

    def __init__(self, plan: Plan, writer: Writer, mended: Mended, pairs: Pairs, made: dict[str, Quantization]) -> None:
        self._plan = plan
        self._writer = writer
        self._mended = mended
        self._pairs = pairs
        self._made = made

    def of(self, layer: Layer) -> str | None:
        """The constant that is an int32 bias of the layer on the target, None without one."""
        builder = self._plan.builder
        if builder.target.bias != "int32" or self._plan.placement.layers[layer.name] in WEIGHT_ONLY:
            return None
        nodes = builder.index.graph.node
        if layer.op_type in ("Conv", "Gemm"):
            inputs = nodes[layer.node].input
            return inputs[2] if len(inputs) > 2 and inputs[2] else None
        if builder.rank(layer.inputs[0]) == 2:
            # ONNX Runtime makes a Gemm of it, whose integer kernel wants an int32 bias
            for i in layer.tail:
                if i in builder.bias_adds:
                    return str(nodes[i].input[builder.bias_adds[i][1]])
        return None

    def input_scale(self, layer: Layer) -> np.float32:
        """The scale of what an integer layer reads."""
        return self._pairs.scale(layer.inputs[0], wide=self._plan.placement.layers[layer.name] == "int16")

    def inside(self, node: onnx.NodeProto, layer: Layer, quantized: QuantizedWeight) -> None:
        """The bias of a Conv or Gemm, one there is or one that the weight's rounding wants."""
        if layer.op_type in ("Conv", "Gemm") and len(node.input) > 2 and node.input[2]:
            node.input[2] = self._written(node.input[2], layer, quantized)
        elif layer.op_type in ("Conv", "Gemm"):
            self._new(node, layer, quantized)

    def behind(self, node: onnx.NodeProto, name: str, position: int, layer: Layer, quantized: QuantizedWeight) -> None:
        """The bias behind a MatMul: int32 where a Gemm is made of both, else out of that fusion's reach.

        Args:
            node: The Add; a guard may stand there for the bias.
            name: Of the bias in the float graph.
            position: Of the bias among its inputs.
            layer: The MatMul's; its weight is on integers.
            quantized: That weight.
        """
        builder = self._plan.builder
        if self._plan.for_cpu_kernels and self._integer(layer) is not None:
            node.input[position] = self._written(name, layer, quantized)
            return
        rank, dims = builder.rank(layer.inputs[0]), builder.weights.dims(name)
        precision = self._plan.placement.layers[layer.name]
        apart = self._plan.for_cpu_kernels and rank > 2 and len(dims) == 1 and precision == "int8"
        apart = apart or node.input[position] != name  # guarded so
        if self._mended.biases:
            values = self._mended.bias(name, layer, quantized)
            shape = [1] * (rank - 1) + [-1] if apart else list(dims)
            node.input[position] = self._writer.constant(f"{layer.output}/bias", values.reshape(shape))
        elif apart:
            node.input[position] = of_rank(self._writer, builder.weights, name, rank)

    def _integer(self, layer: Layer) -> str | None:
        """The constant that becomes an int32 bias of the layer here, None without one."""
        return None if self._plan.simulate else self.of(layer)

    def _new(self, node: onnx.NodeProto, layer: Layer, quantized: QuantizedWeight) -> None:
        """A bias for a Conv or Gemm that has none, where its weight's rounding wants one."""
        shift = self._mended.shift(layer, quantized)
        if shift is None or not shift.any():
            return
        values = (-shift).astype(np.float32)
        weights_only = self._plan.placement.layers[layer.name] in WEIGHT_ONLY
        if self._plan.simulate or self._plan.builder.target.bias != "int32" or weights_only:
            name = self._writer.constant(f"{layer.output}/bias", values)
        else:
            name = self._integers(values, layer, quantized)[0]
        del node.input[2:]
        node.input.append(name)
        for attribute in node.attribute:
            if attribute.name == "beta":
                attribute.f = 1.0

    def _written(self, name: str, layer: Layer, weight: QuantizedWeight) -> str:
        """DQ of an int32 bias, or a float bias where the target wants that."""
        weights = self._plan.builder.weights
        values = self._mended.bias(name, layer, weight)
        if self._integer(layer) is None:
            whole = weights.value(name)
            if not self._mended.biases or np.array_equal(values, whole.reshape(-1)):
                return name
            shape = whole.shape if values.size == whole.size else values.shape
            return self._writer.constant(f"{layer.output}/bias", values.reshape(shape))
        assert layer.weight is not None
        assert layer.weight_axis is not None
        channels = weights.dims(layer.weight)[layer.weight_axis]
        if values.size == 1 and channels > 1 and layer.weight_input == 1:
            values = np.full(channels, values[0], np.float32)
        dequantized, scale = self._integers(values, layer, weight)
        axis = 0 if scale.ndim else None
        self._made[name] = Quantization(scale, np.zeros_like(scale, np.int32), "int32", axis)
        return dequantized

    def _integers(self, values: np.ndarray, layer: Layer, weight: QuantizedWeight) -> tuple[str, np.ndarray]:
        """DQ of an int32 bias, and its scale."""
        writer = self._writer
        integers, scale = scales.bias(values, self.input_scale(layer), weight.scale)
        stem = f"{layer.output}/bias"
        inputs = [writer.constant(f"{stem}/q", integers), writer.constant(f"{stem}/scale", scale)]
        axis = 0 if scale.ndim else None
        return writer.add("DequantizeLinear", inputs, writer.name(f"{stem}/dq"), axis=axis), scale
