"""The integer constants of one build: the weights of layers, and the operands of glue."""

from __future__ import annotations

import onnx

from ...strategies.words import INTEGER_ACTIVATIONS, WEIGHT_ONLY
from ..graph.analysis import Layer
from . import scales, weightonly
from .biasing import Biasing
from .candidate import Quantization
from .mended import Mended
from .plan import Plan
from .scales import QuantizedWeight
from .stored import recorded
from .weights import Scheme
from .writer import Writer


class Constants:
    """Writes them.

    Args:
        plan: What is built.
        writer: Of the graph.
        mended: What corrections make of the weights.
        biasing: The biases that go with them.
        made: Tensor → how it is quantized, filled here for weights.
    """

    def __init__(
        self, plan: Plan, writer: Writer, mended: Mended, biasing: Biasing, made: dict[str, Quantization]
    ) -> None:
        self._plan = plan
        self._writer = writer
        self._mended = mended
        self._biasing = biasing
        self._quantization = made
        self._made: dict[int, str] = {}
        self._grown: dict[str, QuantizedWeight] = {}

    def of_layer(self, node: onnx.NodeProto, layer: Layer) -> None:
        """Integer weight and bias of a compute node."""
        if layer.weight is None or layer.weight_input is None:
            return
        quantized = self._quantized(layer)
        node.input[layer.weight_input] = self._dequantized(layer.weight, quantized)
        self._biasing.inside(node, layer, quantized)

    def alone(self, node: onnx.NodeProto, layer: Layer) -> None:
        """Integer weights of a node that computes in float."""
        assert layer.weight is not None
        if self._plan.placement.layers[layer.name] == "int4" and not self._plan.simulate:
            quantized = self._mended.weight(layer)
            self._biasing.inside(node, layer, quantized)
            weightonly.as_nbits(node, self._writer, layer.weight, quantized)
            return
        assert layer.weight_input is not None
        quantized = self._quantized(layer)
        node.input[layer.weight_input] = self._held(layer.weight, quantized)
        self._biasing.inside(node, layer, quantized)
        for name, position in layer.more:
            node.input[position] = self._held(name, self._mended.nearest(layer, name))

    def of_bias_add(self, node: onnx.NodeProto, original: onnx.NodeProto, layer: Layer, position: int) -> None:
        """The bias in an Add behind a MatMul whose weight is on integers."""
        precision = self._plan.placement.layers[layer.name]
        if precision in INTEGER_ACTIVATIONS + WEIGHT_ONLY and layer.weight is not None:
            self._biasing.behind(node, original.input[position], position, layer, self._quantized(layer))

    def of_glue(self, node: onnx.NodeProto, i: int) -> None:
        """Constant operands of int8 glue: per tensor, of the activations' type, or the kernels do not fuse."""
        builder = self._plan.builder
        for position, name in enumerate(node.input):
            if name in builder.glue_by_node[i].constants:
                unsigned = builder.activation_dtype(self._plan.recipe) == "uint8"
                quantized = builder.weights.of(name, Scheme(None, not unsigned, unsigned=unsigned))
                node.input[position] = self._dequantized(name, quantized)

    def _quantized(self, layer: Layer) -> QuantizedWeight:
        """The layer's weight on integers; scales grow where an int32 bias would not fit otherwise."""
        weights = self._plan.builder.weights
        assert layer.weight is not None
        # simulated on the grid that the target gets
        scheme, bias = self._mended.scheme(layer), self._biasing.of(layer)
        if bias is None or scheme.unsigned:
            return self._mended.weight(layer)
        if layer.name not in self._grown:
            nearest = self._mended.nearest(layer)
            grown = scales.with_room_for_bias(
                nearest,
                weights.value(layer.weight),
                weights.value(bias).reshape(-1),
                self._biasing.input_scale(layer),
                symmetric=scheme.symmetric,
                bits=scheme.bits,
            )
            self._grown[layer.name] = self._mended.weight(layer, None if grown is nearest else grown)
        return self._grown[layer.name]

    def _held(self, name: str, quantized: QuantizedWeight) -> str:
        """A float weight that the file holds on 8 bits, or the rounded one where kernels are simulated."""
        if self._plan.simulate:
            return self._dequantized(name, quantized)
        self._quantization[name] = recorded(quantized)
        if id(quantized) not in self._made:
            self._made[id(quantized)] = weightonly.as_float(self._writer, f"{name}/{len(self._made)}", quantized)
        return self._made[id(quantized)]

    def _dequantized(self, name: str, quantized: QuantizedWeight) -> str:
        """DQ of an integer weight, or the rounded float weight where kernels are simulated."""
        writer = self._writer
        if not quantized.block:
            self._quantization[name] = recorded(quantized)
        if self._plan.simulate and id(quantized) not in self._made:
            wanted = f"{name}/rounded{quantized.axis}"
            while writer.name(wanted) in self._made.values():  # a layer that shares it has another scale
                wanted += "_"
            self._made[id(quantized)] = writer.constant(wanted, scales.dequantize(quantized))
        elif id(quantized) not in self._made:
            stem = f"{name}/{len(self._made)}"
            inputs = [
                writer.constant(f"{stem}/q", quantized.values),
                writer.constant(f"{stem}/scale", quantized.scale),
                writer.constant(f"{stem}/zero", quantized.zero_point),
            ]
            output = writer.add("DequantizeLinear", inputs, writer.name(f"{stem}/dq"), axis=quantized.axis)
            self._made[id(quantized)] = output
        return self._made[id(quantized)]
