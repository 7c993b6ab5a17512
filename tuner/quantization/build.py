"""One build: Q/DQ pairs, integer weights and biases, and what keeps kernels apart, written into a copy of the graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import onnx

from ...strategies.base import BIAS, BIASES, INTEGER_ACTIVATIONS, TABLE, WEIGHT_ONLY
from ..graph import serialize
from ..graph.analysis import Layer
from ..graph.opset import lift
from ..graph.rescale import Border
from . import fp16, scales, weightonly
from .borders import dequantize, quantize
from .candidate import Candidate, Quantization
from .empirical import Chain, chain
from .guards import Guard
from .lookups import Lookup, as_lookup
from .mended import Mended
from .placement import DYNAMIC, Placement
from .scales import QuantizedWeight
from .stored import Stored
from .weights import Scheme
from .wide import OPSET, WidePairs
from .writer import Writer

if TYPE_CHECKING:
    from .builder import Builder


class Build:
    """One build: the state while the new graph grows, node by node in the old order."""

    def __init__(
        self,
        builder: Builder,
        recipe: Mapping[str, str],
        placement: Placement,
        simulate: bool,
        overrides: Mapping[str, Quantization],
        wide: Mapping[str, Quantization],
    ) -> None:
        self._builder = builder
        self._recipe = recipe
        self._placement = placement
        self._simulate = simulate
        # what only ONNX Runtime's optimizer for the CPU wants done
        self._for_cpu_kernels = builder.target.name == "cpu" and not simulate
        self._overrides = overrides
        self._wide_overrides = wide
        self._writer = Writer(builder.model, builder.tensor_names, builder.node_names)
        self._wide = WidePairs(self._writer, recipe, builder.ranges, builder.target.symmetries[0], wide)
        self._quantization: dict[str, Quantization] = {}
        self._folded = builder.borders.folded(placement) if self._for_cpu_kernels else {}
        self._narrow: dict[str, Quantization] = {}
        self._guards: dict[tuple[int, int], Guard] = {}
        if self._for_cpu_kernels:
            self._guards = {(guard.node, guard.position): guard for guard in builder.guards.find(placement)}
        self._beside = Stored(self._writer, builder.weights, recipe, simulate)
        self._guarded: dict[tuple[str, int], str] = {}
        self._dequantized: dict[str, str] = {}
        self._made: dict[int, str] = {}
        self._seeds: set[int] = set()
        self._grown: dict[str, QuantizedWeight] = {}
        self._mended = Mended(builder.weights, builder.corrections, builder.target, recipe, self._chain)

    def candidate(self) -> Candidate:
        """Write the graph."""
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
        if self._placement.wide:
            proto = lift(proto, OPSET)
        return Candidate(
            proto=proto,
            weights=weights,
            layers=self._placement.layers,
            quantization={**self._wide.made, **self._quantization},
            size_bytes=serialize.size(proto, weights),
            notes=(*self._placement.notes, *self._mended.notes.values()),
            corrections=dict(sorted(self._mended.files.items())),
            wide=self._wide.made,
        )

    def _node(self, i: int, original: onnx.NodeProto) -> None:
        builder, writer = self._builder, self._writer
        border = self._folded.get(i)
        if border is not None:
            self._border(original.output[0], border)
            return
        node = onnx.NodeProto()
        node.CopyFrom(original)
        layer = builder.by_node.get(i)
        if layer is not None:
            node.name = layer.name
        for position, name in enumerate(original.input):
            if (i, position) in self._guards:
                node.input[position] = self._guard(self._guards[i, position], name)
        self._stored_beside(node, i)
        undone = None
        if i in self._placement.weights_only and layer is not None:
            self._weights_only(node, layer)
        elif i in self._placement.int8_nodes or i in self._placement.wide_nodes:
            self._read_integers(node, original, i in self._placement.wide_nodes)
            if layer is not None:
                self._constants(node, layer)
                undone = self._undone(layer)
            elif self._lookup(original.output[0]):
                as_lookup(node, self._nothing(original.output[0]))
            else:
                self._glue_constants(node, i)
        elif i in builder.bias_adds:
            self._bias_add(node, *builder.bias_adds[i])
        elif i in builder.rectified:
            self._rectifier(node, builder.rectified[i])
        for position, name in enumerate(original.output):
            if name in self._placement.replaced:
                node.output[position] = writer.name(f"{name}/raw")
        if undone is not None:
            node.output[0] = writer.name(f"{undone}/kept")
        if i in builder.layer_nodes and self._placement.layers[builder.layer_nodes[i]] == "fp16":
            self._seeds.add(len(writer.nodes))
        writer.nodes.append(node)
        if undone is not None:
            writer.add("Max", [node.output[0]], undone)
        for position, name in enumerate(original.output):
            self._pair(name, node.output[position] if name in self._placement.replaced else name)

    def _stored_beside(self, node: onnx.NodeProto, i: int) -> None:
        """Tables, and the LSTM whose kernel quantizes what it reads by itself."""
        layer, table = self._builder.by_node.get(i), self._builder.tables.get(i)
        if table is not None and self._recipe.get(TABLE + table.name) == "weight8":
            self._quantization |= self._beside.table(node, table)
        if layer is not None and layer.op_type in DYNAMIC and self._placement.layers[layer.name] == "int8":
            self._quantization |= self._beside.lstm(node, layer, self._builder.target.weight_bits)

    def _read_integers(self, node: onnx.NodeProto, original: onnx.NodeProto, wide: bool) -> None:
        dequantized = self._wide.dequantized if wide else self._dequantized
        for position, name in enumerate(original.input):
            if name in (self._placement.wide if wide else self._placement.pairs):
                node.input[position] = dequantized[name]

    def _weights_only(self, node: onnx.NodeProto, layer: Layer) -> None:
        """Integer weights of a node that computes in float."""
        assert layer.weight is not None
        if self._placement.layers[layer.name] == "int4" and not self._simulate:
            quantized = self._mended.weight(layer)
            self._bias_input(node, layer, quantized)
            weightonly.as_nbits(node, self._writer, layer.weight, quantized)
            return
        assert layer.weight_input is not None
        quantized = self._quantized_weight(layer)
        node.input[layer.weight_input] = self._held(layer.weight, quantized)
        self._bias_input(node, layer, quantized)
        for name, position in layer.more:
            node.input[position] = self._held(name, self._mended.nearest(layer, name))

    def _held(self, name: str, quantized: QuantizedWeight) -> str:
        """A float weight that the file holds on 8 bits, or the rounded one where kernels are simulated."""
        if self._simulate:
            return self._weight(name, quantized)
        self._quantization[name] = _record(quantized)
        if id(quantized) not in self._made:
            self._made[id(quantized)] = weightonly.as_float(self._writer, f"{name}/{len(self._made)}", quantized)
        return self._made[id(quantized)]

    def _border(self, tensor: str, border: Border) -> None:
        """Scale channels in a Q or DQ instead of a Mul."""
        if border.inward:
            self._pair(tensor, border=border)
            return
        made = self._quantization[border.source]
        dequantize(self._writer, border, made, self._writer.name(f"{border.source}/q"), tensor)
        self._pair(tensor)

    def _pair(self, tensor: str, raw: str | None = None, border: Border | None = None) -> None:
        """Q and DQ behind a tensor that has just been written (as `raw`), or that the Q makes of a border's source."""
        if tensor in self._placement.wide_written:
            self._wide.add(tensor, raw or tensor, written=True)
            raw = None
        self._narrow_pair(tensor, raw, border)
        if tensor in self._placement.wide and tensor not in self._placement.wide_written:
            self._wide.add(tensor, tensor)

    def _narrow_pair(self, tensor: str, raw: str | None, border: Border | None) -> None:
        """Q and DQ of 8 bits."""
        root = self._placement.pairs.get(tensor)
        if root is None:
            return
        writer = self._writer
        known = self._narrow.get(root) or self._parameters(root)
        made = self._written(tensor, known)
        self._narrow[root] = self._narrow[tensor] = self._quantization[root] = self._quantization[tensor] = made
        scale = writer.constant(f"{tensor}/scale", made.scale)
        zero_point = writer.constant(f"{tensor}/zero", made.zero_point)
        quantized = writer.name(f"{tensor}/q")
        lookup = self._lookup(tensor)
        if border is not None:
            quantize(writer, border, made, quantized)
        elif lookup is None:
            writer.add("QuantizeLinear", [raw or tensor, scale, zero_point], quantized)
        else:
            written = [
                writer.constant(f"{tensor}/argument/scale", lookup.written.scale),
                writer.constant(f"{tensor}/argument/zero", lookup.written.zero_point),
            ]
            writer.add("QuantizeLinear", [raw or tensor, *written], quantized)
        if tensor not in self._placement.replaced or tensor in self._placement.wide_written:
            self._dequantized[tensor] = writer.name(f"{tensor}/dq")
        elif self._is_read(tensor):
            self._dequantized[tensor] = tensor
        else:
            return
        writer.add("DequantizeLinear", [quantized, scale, zero_point], self._dequantized[tensor])

    def _parameters(self, root: str) -> Quantization:
        """How a tensor is quantized, as calibrated or as the recipe's file says."""
        if root in self._overrides and root not in self._builder.lookups:
            return self._builder.fitted(root, self._overrides[root])
        return self._builder.parameters(root, self._recipe)

    def _chain(self) -> Chain:
        """What empirical bias correction is of: the recipe, its biases as they are."""
        placement, plain = self._placement, {**self._recipe, BIAS: BIASES[0]}
        roots = sorted(set(placement.pairs.values()))
        return chain(
            self._builder,
            placement,
            plain,
            {root: self._parameters(root) for root in roots},
            {tensor: self._wide.parameters(tensor) for tensor in sorted(placement.wide)},
            lambda: Build(self._builder, plain, placement, True, self._overrides, self._wide_overrides).candidate(),
        )

    def _written(self, tensor: str, made: Quantization) -> Quantization:
        """The same, or with the scale that ONNX Runtime's integer Softmax can write where it makes one."""
        index = self._builder.index
        producer = index.producer.get(tensor)
        if not self._for_cpu_kernels or producer is None or index.graph.node[producer].op_type != "Softmax":
            return made
        fed = self._builder.guards.from_integers(index.graph.node[producer].input[0], self._placement)
        if producer not in self._placement.int8_nodes and not fed:
            return made
        return Quantization(np.asarray(scales.SOFTMAX), np.zeros_like(made.zero_point), made.dtype)

    def _nothing(self, tensor: str) -> str:
        """A dequantized 0 for the lookup that writes a tensor."""
        writer, stem = self._writer, f"{tensor}/nothing"
        zero = writer.constant(f"{stem}/q", np.zeros((), np.uint8))
        scale = writer.constant(f"{stem}/scale", np.ones((), np.float32))
        return writer.add("DequantizeLinear", [zero, scale, zero], writer.name(f"{stem}/dq"))

    def _lookup(self, tensor: str) -> Lookup | None:
        """The table that writes a tensor, where one does."""
        index = self._builder.index
        producer = index.producer.get(tensor)
        if not self._for_cpu_kernels or producer not in self._placement.int8_nodes:
            return None
        return self._builder.lookups.get(tensor)

    def _is_read(self, tensor: str) -> bool:
        """Whether anyone reads a replaced tensor through the common DQ."""
        index = self._builder.index
        if tensor in index.outputs:
            return True
        for i in index.consumers.get(tensor, ()):
            if i in self._folded:
                continue
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
        self._bias_input(node, layer, quantized)

    def _bias_input(self, node: onnx.NodeProto, layer: Layer, quantized: QuantizedWeight) -> None:
        """The bias of a Conv or Gemm, one there is or one that the weight's rounding wants."""
        if layer.op_type in ("Conv", "Gemm") and len(node.input) > 2 and node.input[2]:
            node.input[2] = self._bias(node.input[2], layer, quantized)
        elif layer.op_type in ("Conv", "Gemm"):
            self._new_bias(node, layer, quantized)

    def _quantized_weight(self, layer: Layer) -> QuantizedWeight:
        """The layer's weight on integers; scales grow where an int32 bias would not fit otherwise."""
        weights = self._builder.weights
        assert layer.weight is not None
        scheme, bias = self._mended.scheme(layer), self._bias_of(layer)  # simulated on the grid that the target gets
        if bias is None or scheme.unsigned:
            return self._mended.weight(layer)
        if layer.name not in self._grown:
            nearest = self._mended.nearest(layer)
            grown = scales.with_room_for_bias(
                nearest,
                weights.value(layer.weight),
                weights.value(bias).reshape(-1),
                self._input_scale(layer),
                symmetric=scheme.symmetric,
                bits=scheme.bits,
            )
            self._grown[layer.name] = self._mended.weight(layer, None if grown is nearest else grown)
        return self._grown[layer.name]

    def _new_bias(self, node: onnx.NodeProto, layer: Layer, quantized: QuantizedWeight) -> None:
        """A bias for a Conv or Gemm that has none, where its weight's rounding wants one."""
        shift = self._mended.shift(layer, quantized)
        if shift is None or not shift.any():
            return
        values = (-shift).astype(np.float32)
        weights_only = self._placement.layers[layer.name] in WEIGHT_ONLY
        if self._simulate or self._builder.target.bias != "int32" or weights_only:
            name = self._writer.constant(f"{layer.output}/bias", values)
        else:
            name = self._integers(values, layer, quantized)[0]
        del node.input[2:]
        node.input.append(name)
        for attribute in node.attribute:
            if attribute.name == "beta":
                attribute.f = 1.0

    def _integer_bias(self, layer: Layer) -> str | None:
        """The constant that becomes an int32 bias of the layer here, None without one."""
        return None if self._simulate else self._bias_of(layer)

    def _bias_of(self, layer: Layer) -> str | None:
        """The constant that is an int32 bias of the layer on the target, None without one."""
        if self._builder.target.bias != "int32" or self._placement.layers[layer.name] in WEIGHT_ONLY:
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

    def _input_scale(self, layer: Layer) -> np.float32:
        wide = self._placement.layers[layer.name] == "int16"
        return np.float32((self._wide.made if wide else self._narrow)[layer.inputs[0]].scale)

    def _weight(self, name: str, quantized: QuantizedWeight) -> str:
        """DQ of an integer weight, or the rounded float weight where kernels are simulated."""
        writer = self._writer
        if not quantized.block:
            self._quantization[name] = _record(quantized)
        if self._simulate and id(quantized) not in self._made:
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

    def _bias(self, name: str, layer: Layer, weight: QuantizedWeight) -> str:
        """DQ of an int32 bias, or a float bias where the target wants that."""
        writer, builder = self._writer, self._builder
        values = self._mended.bias(name, layer, weight)
        if self._integer_bias(layer) is None:
            whole = builder.weights.value(name)
            if not self._mended.biases or np.array_equal(values, whole.reshape(-1)):
                return name
            shape = whole.shape if values.size == whole.size else values.shape
            return writer.constant(f"{layer.output}/bias", values.reshape(shape))
        assert layer.weight is not None
        assert layer.weight_axis is not None
        channels = builder.weights.dims(layer.weight)[layer.weight_axis]
        if values.size == 1 and channels > 1 and layer.weight_input == 1:
            values = np.full(channels, values[0], np.float32)
        dequantized, scale = self._integers(values, layer, weight)
        axis = 0 if scale.ndim else None
        self._quantization[name] = Quantization(scale, np.zeros_like(scale, np.int32), "int32", axis)
        return dequantized

    def _integers(self, values: np.ndarray, layer: Layer, weight: QuantizedWeight) -> tuple[str, np.ndarray]:
        """DQ of an int32 bias, and its scale."""
        writer = self._writer
        integers, scale = scales.bias(values, self._input_scale(layer), weight.scale)
        stem = f"{layer.output}/bias"
        inputs = [writer.constant(f"{stem}/q", integers), writer.constant(f"{stem}/scale", scale)]
        axis = 0 if scale.ndim else None
        return writer.add("DequantizeLinear", inputs, writer.name(f"{stem}/dq"), axis=axis), scale

    def _bias_add(self, node: onnx.NodeProto, layer: Layer, position: int) -> None:
        """The bias behind an int8 MatMul: int32 where a Gemm is made of both, else out of that fusion's reach."""
        precision = self._placement.layers[layer.name]
        if precision not in INTEGER_ACTIVATIONS + WEIGHT_ONLY or layer.weight is None:
            return
        name = node.input[position]
        rank = self._builder.rank(layer.inputs[0])
        quantized = self._quantized_weight(layer)
        if self._for_cpu_kernels and self._integer_bias(layer) is not None:
            node.input[position] = self._bias(name, layer, quantized)
            return
        dims = self._builder.weights.dims(name)
        apart = self._for_cpu_kernels and rank > 2 and len(dims) == 1 and precision == "int8"
        if self._mended.biases:
            values = self._mended.bias(name, layer, quantized)
            shape = [1] * (rank - 1) + [-1] if apart else list(dims)
            node.input[position] = self._writer.constant(f"{layer.output}/bias", values.reshape(shape))
        elif apart:
            node.input[position] = self._guard(Guard(layer.node, 0, "bias", rank), name)

    def _undone(self, layer: Layer) -> str | None:
        """The output of an int8 MatMul whose readers would undo its fusion, None if they do not.

        ONNX Runtime makes a float Gemm of a MatMul and an Add behind it, and hands a Q behind two Transposes that
        cancel out to the MatMul, which then has a Q among several readers.
        """
        index = self._builder.index
        if not self._for_cpu_kernels or layer.op_type != "MatMul" or layer.tail:
            return None
        if layer.output in self._placement.pairs:
            return None
        nodes = index.graph.node
        readers = index.consumers.get(layer.output, [])
        merges = [nodes[i].op_type for i in readers] == ["Add"] and self._builder.rank(layer.output) in (0, 2)
        turned = {name for i in readers if nodes[i].op_type == "Transpose" for name in nodes[i].output}
        cancels = any(nodes[i].op_type == "Transpose" for name in turned for i in index.consumers.get(name, []))
        return layer.output if merges or cancels else None

    def _rectifier(self, node: onnx.NodeProto, layer: Layer) -> None:
        """Keep a Relu or Clip behind an int8 MatMul from undoing its fusion.

        ONNX Runtime takes a Relu or Clip of one reader for part of the kernel, and does not fuse the kernel at all if
        that reader is no Q. Where the kernel has other readers it drops a Relu before a Q, which then is one of several
        readers. A maximum with zero is no Relu.
        """
        output = node.output[0]
        if not self._for_cpu_kernels or self._placement.layers[layer.name] != "int8":
            return
        index = self._builder.index
        readers = index.consumers.get(output, [])
        only_q = output in self._placement.pairs and all(i in self._placement.int8_nodes for i in readers)
        only_q = only_q and (node.op_type == "Relu" or output in self._builder.clips)  # else it may end past the Clip
        kept = index.outputs.intersection((output, node.input[0]))  # both would be gone in the kernel
        if len(index.consumers[node.input[0]]) > 1:
            if node.input[0] in self._placement.replaced:
                return
            kept.add(node.input[0])
        if output in self._placement.replaced or (only_q and not kept):
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
                quantized = self._builder.weights.of(name, Scheme(None, not unsigned, unsigned=unsigned))
                node.input[position] = self._weight(name, quantized)


def _record(quantized: QuantizedWeight) -> Quantization:
    return Quantization(quantized.scale, quantized.zero_point, str(quantized.values.dtype), quantized.axis)
