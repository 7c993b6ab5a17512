"""From a recipe to a candidate: writes Q/DQ pairs, integer weights and biases into a copy of the graph."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from ...strategies.base import ACTIVATION_SYMMETRY, CALIBRATOR, WEIGHT_GRANULARITY, WEIGHT_SYMMETRY
from ..calibration.ranges import Ranges
from ..graph import serialize
from ..graph.analysis import Analysis, Layer
from ..graph.draft import tensor_names
from ..graph.index import GraphIndex
from ..graph.model import Model
from ..targets.base import Target
from . import fp16, scales
from .candidate import Candidate, Quantization
from .guards import Guard, Guards
from .placement import Placement, Placer
from .scales import QuantizedWeight
from .weights import Weights
from .writer import Writer


class Builder:
    """Builds candidates of one model for one target; weights are quantized once per scheme and kept.

    Args:
        model: The float model.
        analysis: Its layers and glue.
        ranges: What calibration found.
        target: The runtime's profile.
    """

    def __init__(self, model: Model, analysis: Analysis, ranges: Ranges, target: Target) -> None:
        self.model = model
        self.analysis = analysis
        self.ranges = ranges
        self.target = target
        self.weights = Weights(model)
        self.index = GraphIndex(model.proto.graph)
        self.tensor_names = frozenset(tensor_names(model.proto.graph))
        self.node_names = frozenset(node.name for node in model.proto.graph.node)
        faults = {layer.name: fault for layer in analysis.layers if (fault := self._fault(layer))}
        too_large = {layer.name for layer in analysis.layers if self._overflows(layer)}
        self.placer = Placer(model, analysis, ranges, target, faults, too_large)
        self.guards = Guards(model, ranges, self.weights)
        self.by_node = {layer.node: layer for layer in analysis.layers}
        self.layer_nodes = {i: layer.name for layer in analysis.layers for i in (layer.node, *layer.tail)}
        self.glue_by_node = {glue.node: glue for glue in analysis.glue}
        self.bias_adds = dict(self._bias_adds())
        self.rectified = dict(self._rectified())
        self.clips = {layer.output: bounds for layer in analysis.layers if (bounds := self._clip(layer))}

    def build(
        self,
        recipe: Mapping[str, str],
        *,
        simulate: bool = False,
        overrides: Mapping[str, Quantization] | None = None,
    ) -> Candidate:
        """The candidate of a recipe.

        Args:
            recipe: Parameter → choice; missing layers and glue are float. What the target has no kernel for stays in
                float, with a note in the candidate.
            simulate: For a provider without integer kernels: Q/DQ pairs where the target has them, but weights in
                float32 rounded to their integers' values and biases in float32.
            overrides: Activation tensor → scale and zero point that are used instead of the calibrated ones.
        """
        return _Build(self, recipe, self.placer.place(recipe), simulate, overrides or {}).candidate()

    def parameters(self, tensor: str, recipe: Mapping[str, str]) -> Quantization:
        """Scale and zero point of an activation under a recipe's calibrator and symmetry.

        Behind a Clip with a negative end the zero point is always free: with a fixed one the integers would end past
        the Clip, and the kernel would not fuse.

        Raises:
            KeyError: The tensor was not calibrated.
        """
        symmetry, dtype = recipe.get(ACTIVATION_SYMMETRY, self.target.symmetries[0]), self.activation_dtype(recipe)
        low, high = self.ranges.get(tensor, recipe.get(CALIBRATOR, "minmax"), symmetry)
        lowest = self.clips.get(tensor, (0.0, None))[0]
        fixed = symmetry == "symmetric" and (dtype != "uint8" or lowest is None or lowest >= 0)
        if not fixed and symmetry == "symmetric":
            low, high = self.ranges.get(tensor, recipe.get(CALIBRATOR, "minmax"), "asymmetric")
        scale, zero_point = scales.activation(low, high, symmetric=fixed, dtype=dtype)
        return self.fitted(tensor, Quantization(np.asarray(scale, np.float32), np.asarray(zero_point, dtype), dtype))

    def activation_dtype(self, recipe: Mapping[str, str]) -> str:
        """Integer type of the activations under a recipe."""
        return self.target.activation[recipe.get(ACTIVATION_SYMMETRY, self.target.symmetries[0])]

    def fitted(self, tensor: str, made: Quantization) -> Quantization:
        """The same scale, or one that ends where the tensor's Relu or Clip does: past it no value lies."""
        if tensor not in self.clips or made.dtype != "uint8":
            return made
        scale = scales.inside_clip(np.float32(made.scale), int(made.zero_point), *self.clips[tensor])
        return Quantization(np.asarray(scale, np.float32), made.zero_point, made.dtype)

    def rank(self, tensor: str) -> int:
        """Number of dimensions, 0 if unknown."""
        return len(self.ranges.shapes.get(tensor, ()))

    def _fault(self, layer: Layer) -> str:
        """Why a layer's constants cannot be quantized, or the empty string."""
        for name in (layer.weight, layer.bias):
            if name is not None and not self.weights.finite(name):
                return f"its constant {name!r} holds NaN or infinity"
        node = self.model.proto.graph.node[layer.node]
        if layer.op_type in ("Conv", "Gemm") and len(node.input) > 2 and node.input[2]:
            if not self.weights.is_float(node.input[2]):
                return "its bias is not a constant"
            size, dims = int(np.prod(self.weights.dims(node.input[2]))), self.weights.dims(node.input[2])
            if dims and size != dims[-1]:
                return "its bias is a matrix"
        return ""

    def _overflows(self, layer: Layer) -> bool:
        """Whether float16 cannot hold what a layer reads and writes, as far as calibration saw."""
        constants = (name for name in (layer.weight, layer.bias) if name is not None)
        seen = [self.weights.largest(name) for name in constants]
        for name in (*layer.inputs, layer.output):
            if name in self.ranges.values:
                seen += map(abs, self.ranges.values[name].get("minmax", {}).get("asymmetric", ()))
        return not all(value <= fp16.LARGEST for value in seen)

    def _bias_adds(self) -> list[tuple[int, tuple[Layer, int]]]:
        """Index of the bias Add behind a MatMul → its layer and the position of the constant."""
        found = []
        nodes = self.model.proto.graph.node
        for layer in self.analysis.layers:
            for i in layer.tail:
                if layer.op_type == "MatMul" and nodes[i].op_type == "Add":
                    position = 0 if self.weights.is_float(nodes[i].input[0]) else 1
                    found.append((i, (layer, position)))
        return found

    def _rectified(self) -> list[tuple[int, Layer]]:
        """Index of the sole Relu or Clip behind the kernel of a MatMul or Gemm → the layer."""
        found = []
        nodes = self.model.proto.graph.node
        for layer in self.analysis.layers:
            if layer.op_type not in ("MatMul", "Gemm"):
                continue
            end = layer.node
            for i in layer.tail:
                if i in self.bias_adds and self.rank(layer.inputs[0]) == 2:
                    end = i  # one kernel with its MatMul
            reader = self.index.sole_consumer(nodes[end].output[0])
            if reader is not None and nodes[reader].op_type in ("Relu", "Clip"):
                found.append((reader, layer))
        return found

    def _clip(self, layer: Layer) -> tuple[float | None, float | None] | None:
        """Bounds of the Relu or Clip at the end of a layer, None without one."""
        node = self.model.proto.graph.node[layer.tail[-1]] if layer.tail else None
        if node is None or node.op_type not in ("Relu", "Clip"):
            return None
        if node.op_type == "Relu":
            return 0.0, None
        bounds = [
            float(self.weights.value(name).reshape(-1)[0]) if name in self.weights else None
            for name in (*node.input[1:3], "", "")[:2]
        ]
        return bounds[0], bounds[1]


class _Build:
    """One build: the state while the new graph grows, node by node in the old order."""

    def __init__(
        self,
        builder: Builder,
        recipe: Mapping[str, str],
        placement: Placement,
        simulate: bool,
        overrides: Mapping[str, Quantization],
    ) -> None:
        self._builder = builder
        self._recipe = recipe
        self._placement = placement
        self._simulate = simulate
        # what only ONNX Runtime's optimizer for the CPU wants done
        self._for_cpu_kernels = builder.target.name == "cpu" and not simulate
        self._overrides = overrides
        self._writer = Writer(builder.model, builder.tensor_names, builder.node_names)
        self._quantization: dict[str, Quantization] = {}
        self._guards: dict[tuple[int, int], Guard] = {}
        if self._for_cpu_kernels:
            self._guards = {(guard.node, guard.position): guard for guard in builder.guards.find(placement)}
        self._guarded: dict[tuple[str, int], str] = {}
        self._dequantized: dict[str, str] = {}
        self._made: dict[int, str] = {}
        self._seeds: set[int] = set()
        self._grown: dict[str, QuantizedWeight] = {}

    def candidate(self) -> Candidate:
        builder, writer = self._builder, self._writer
        for info in builder.model.proto.graph.input:
            self._pair(info.name)
        for i, node in enumerate(builder.model.proto.graph.node):
            self._node(i, node)
        halves: set[str] = set()
        if self._seeds:
            writer.nodes, halves = fp16.cast_regions(
                writer.nodes, self._seeds, builder.index.outputs, self._half, writer.name
            )
        proto, weights = writer.finish(halves)
        return Candidate(
            proto=proto,
            weights=weights,
            layers=self._placement.layers,
            quantization=self._quantization,
            size_bytes=serialize.size(proto, weights),
            notes=self._placement.notes,
        )

    def _node(self, i: int, original: onnx.NodeProto) -> None:
        builder, writer = self._builder, self._writer
        node = onnx.NodeProto()
        node.CopyFrom(original)
        layer = builder.by_node.get(i)
        if layer is not None:
            node.name = layer.name
        for position, name in enumerate(original.input):
            if (i, position) in self._guards:
                node.input[position] = self._guard(self._guards[i, position], name)
        residual = None
        if i in self._placement.int8_nodes:
            self._read_integers(node, original)
            if layer is not None:
                self._constants(node, layer)
                residual = self._residual(layer)
            else:
                self._glue_constants(node, i)
        elif i in builder.bias_adds:
            self._bias_add(node, *builder.bias_adds[i])
        elif i in builder.rectified:
            self._rectifier(node, builder.rectified[i])
        for position, name in enumerate(original.output):
            if name in self._placement.replaced:
                node.output[position] = writer.name(f"{name}/raw")
        if residual is not None:
            node.output[0] = writer.name(f"{residual}/kept")
        if i in builder.layer_nodes and self._placement.layers[builder.layer_nodes[i]] == "fp16":
            self._seeds.add(len(writer.nodes))
        writer.nodes.append(node)
        if residual is not None:
            # without it ONNX Runtime makes a float Gemm of this MatMul and the Add behind it
            writer.add("Max", [node.output[0]], residual)
        for position, name in enumerate(original.output):
            self._pair(name, node.output[position] if name in self._placement.replaced else name)

    def _read_integers(self, node: onnx.NodeProto, original: onnx.NodeProto) -> None:
        for position, name in enumerate(original.input):
            if name in self._placement.pairs:
                node.input[position] = self._dequantized[name]

    def _pair(self, tensor: str, raw: str | None = None) -> None:
        """Q and DQ behind a tensor that has just been written (as `raw`)."""
        root = self._placement.pairs.get(tensor)
        if root is None:
            return
        writer = self._writer
        made = self._quantization.get(root)
        if made is None and root in self._overrides:
            made = self._builder.fitted(root, self._overrides[root])
        elif made is None:
            made = self._builder.parameters(root, self._recipe)
        self._quantization[root] = self._quantization[tensor] = made
        scale = writer.constant(f"{tensor}/scale", made.scale)
        zero_point = writer.constant(f"{tensor}/zero", made.zero_point)
        quantized = writer.name(f"{tensor}/q")
        writer.add("QuantizeLinear", [raw or tensor, scale, zero_point], quantized)
        if tensor not in self._placement.replaced:
            self._dequantized[tensor] = writer.name(f"{tensor}/dq")
        elif self._is_read(tensor):
            self._dequantized[tensor] = tensor
        else:
            return
        writer.add("DequantizeLinear", [quantized, scale, zero_point], self._dequantized[tensor])

    def _is_read(self, tensor: str) -> bool:
        """Whether anyone reads a replaced tensor through the common DQ."""
        index = self._builder.index
        if tensor in index.outputs:
            return True
        for i in index.consumers.get(tensor, ()):
            positions = [k for k, name in enumerate(index.graph.node[i].input) if name == tensor]
            if not positions or any(
                (i, k) not in self._guards or self._guards[i, k].kind != "channels" for k in positions
            ):
                return True
        return False

    def _guard(self, guard: Guard, tensor: str) -> str:
        """What a float node reads instead of a dequantized tensor."""
        writer = self._writer
        if guard.kind == "bias":
            bias = self._builder.weights.value(tensor)
            return writer.constant(f"{tensor}/bias{guard.count}", bias.reshape([1] * (guard.count - 1) + [-1]))
        key = (tensor, guard.count)
        if key not in self._guarded:
            if guard.kind == "barrier":
                self._guarded[key] = writer.add("Max", [tensor], writer.name(f"{tensor}/float"))
            else:
                made = self._quantization[self._placement.pairs[tensor]]
                scale = writer.constant(f"{tensor}/scales", np.full(guard.count, made.scale, np.float32))
                zero_point = writer.constant(f"{tensor}/zeros", np.full(guard.count, made.zero_point, made.dtype))
                self._guarded[key] = writer.add(
                    "DequantizeLinear",
                    [writer.name(f"{tensor}/q"), scale, zero_point],
                    writer.name(f"{tensor}/float{guard.count}"),
                    axis=1,
                )
        return self._guarded[key]

    def _half(self, name: str) -> str | None:
        """The float16 copy of a float constant."""
        weights = self._builder.weights
        return self._writer.constant(f"{name}/fp16", weights.half(name)) if weights.is_float(name) else None

    def _constants(self, node: onnx.NodeProto, layer: Layer) -> None:
        """Integer weight and bias of a compute node."""
        if layer.weight is None or layer.weight_input is None:
            return
        quantized = self._quantized_weight(layer)
        node.input[layer.weight_input] = self._weight(layer.weight, quantized)
        if layer.op_type in ("Conv", "Gemm") and len(node.input) > 2 and node.input[2]:
            node.input[2] = self._bias(node.input[2], layer, quantized)

    def _quantized_weight(self, layer: Layer) -> QuantizedWeight:
        """The layer's weight on integers; scales grow where an int32 bias would not fit otherwise."""
        weights, target, recipe = self._builder.weights, self._builder.target, self._recipe
        assert layer.weight is not None
        symmetric = recipe.get(WEIGHT_SYMMETRY, "symmetric") == "symmetric" or "asymmetric" not in target.weight
        per_channel = recipe.get(WEIGHT_GRANULARITY, "per_channel") == "per_channel"
        # the left operand of an integer MatMul has one scale and the type of an activation
        left = layer.op_type == "MatMul" and layer.weight_input == 0
        axis = layer.weight_axis if per_channel and not left else None
        quantized = weights.quantized(
            layer.weight, axis=axis, symmetric=symmetric, bits=target.weight_bits, unsigned=left
        )
        bias = self._integer_bias(layer)
        if bias is not None and not left:
            if layer.name not in self._grown:
                self._grown[layer.name] = scales.with_room_for_bias(
                    quantized,
                    weights.value(layer.weight),
                    weights.value(bias).reshape(-1),
                    self._scale(layer.inputs[0]),
                    symmetric=symmetric,
                    bits=target.weight_bits,
                )
            return self._grown[layer.name]
        return quantized

    def _integer_bias(self, layer: Layer) -> str | None:
        """The constant that becomes an int32 bias of the layer, None without one."""
        if self._simulate or self._builder.target.bias != "int32":
            return None
        nodes = self._builder.index.graph.node
        if layer.op_type in ("Conv", "Gemm"):
            inputs = nodes[layer.node].input
            return inputs[2] if len(inputs) > 2 and inputs[2] else None
        if self._builder.rank(layer.inputs[0]) == 2:
            # ONNX Runtime makes a Gemm of it, whose integer kernel wants an int32 bias
            for i in layer.tail:
                if i in self._builder.bias_adds:
                    return str(nodes[i].input[self._builder.bias_adds[i][1]])
        return None

    def _scale(self, tensor: str) -> np.float32:
        return np.float32(self._quantization[tensor].scale)

    def _weight(self, name: str, quantized: QuantizedWeight) -> str:
        """DQ of an integer weight, or the rounded float weight where kernels are simulated."""
        writer = self._writer
        record = Quantization(quantized.scale, quantized.zero_point, str(quantized.values.dtype), quantized.axis)
        self._quantization[name] = record
        if self._simulate:
            return writer.constant(f"{name}/rounded{quantized.axis}", scales.dequantize(quantized))
        if id(quantized) not in self._made:
            stem = f"{name}/{len(self._made)}"
            inputs = [
                writer.constant(f"{stem}/q", quantized.values),
                writer.constant(f"{stem}/scale", quantized.scale),
                writer.constant(f"{stem}/zero", quantized.zero_point),
            ]
            output = writer.add("DequantizeLinear", inputs, writer.name(f"{stem}/dq"), axis=quantized.axis)
            self._made[id(quantized)] = output
        return self._made[id(quantized)]

    def _bias(self, name: str, layer: Layer, weight: QuantizedWeight) -> str:
        """DQ of an int32 bias, or the float bias where the target wants that."""
        if self._integer_bias(layer) is None:
            return name
        writer, builder = self._writer, self._builder
        values = builder.weights.value(name).reshape(-1)
        assert layer.weight is not None
        assert layer.weight_axis is not None
        channels = builder.weights.dims(layer.weight)[layer.weight_axis]
        if values.size == 1 and channels > 1 and layer.weight_input == 1:
            values = np.full(channels, values[0], np.float32)
        integers, scale = scales.bias(values, self._scale(layer.inputs[0]), weight.scale)
        axis = 0 if scale.ndim else None
        self._quantization[name] = Quantization(scale, np.zeros_like(scale, np.int32), "int32", axis)
        stem = f"{layer.output}/bias"
        inputs = [writer.constant(f"{stem}/q", integers), writer.constant(f"{stem}/scale", scale)]
        return writer.add("DequantizeLinear", inputs, writer.name(f"{stem}/dq"), axis=axis)

    def _bias_add(self, node: onnx.NodeProto, layer: Layer, position: int) -> None:
        """The bias behind an int8 MatMul: int32 where a Gemm is made of both, else out of that fusion's reach."""
        if self._placement.layers[layer.name] != "int8" or not self._for_cpu_kernels or layer.weight is None:
            return
        name = node.input[position]
        rank = self._builder.rank(layer.inputs[0])
        if self._integer_bias(layer) is not None:
            node.input[position] = self._bias(name, layer, self._quantized_weight(layer))
        elif rank > 2 and len(self._builder.weights.dims(name)) == 1:
            node.input[position] = self._guard(Guard(layer.node, 0, "bias", rank), name)

    def _residual(self, layer: Layer) -> str | None:
        """The output of an int8 MatMul that ONNX Runtime would merge with an Add behind it into a float Gemm."""
        index = self._builder.index
        if not self._for_cpu_kernels or layer.op_type != "MatMul" or layer.tail:
            return None
        if layer.output in self._placement.pairs:
            return None
        reader = index.sole_consumer(layer.output)
        merges = reader is not None and index.graph.node[reader].op_type == "Add"
        return layer.output if merges and self._builder.rank(layer.output) in (0, 2) else None

    def _rectifier(self, node: onnx.NodeProto, layer: Layer) -> None:
        """Keep a Relu or Clip behind an int8 MatMul from undoing its fusion.

        ONNX Runtime takes a Relu or Clip of one reader for part of the kernel, and does not fuse the kernel at all if
        that reader is no Q. A maximum with zero is none.
        """
        output = node.output[0]
        if not self._for_cpu_kernels or self._placement.layers[layer.name] != "int8":
            return
        index = self._builder.index
        readers = index.consumers.get(output, [])
        only_q = output in self._placement.pairs and all(i in self._placement.int8_nodes for i in readers)
        only_q = only_q and (node.op_type == "Relu" or output in self._builder.clips)  # else it may end past the Clip
        if output in self._placement.replaced or (only_q and output not in index.outputs):
            return
        if node.op_type == "Relu":
            node.op_type = "Max"
            node.input.append(self._writer.constant(f"{output}/floor", np.zeros((), np.float32)))
        else:
            node.input[0] = self._writer.add("Max", [node.input[0]], self._writer.name(f"{output}/kept"))

    def _glue_constants(self, node: onnx.NodeProto, i: int) -> None:
        """Constant operands of int8 glue: per tensor, of the activations' type, or the kernels do not fuse."""
        for position, name in enumerate(node.input):
            if name in self._builder.glue_by_node[i].constants:
                unsigned = self._builder.activation_dtype(self._recipe) == "uint8"
                quantized = self._builder.weights.quantized(name, axis=None, symmetric=not unsigned, unsigned=unsigned)
                node.input[position] = self._weight(name, quantized)
