"""One build: the walk over the float graph, node by node, into a copy with integers."""

from __future__ import annotations

from dataclasses import replace

import onnx

from ...strategies.words import BIAS, BIASES, TABLE
from ..graph import serialize
from ..graph.opset import lift
from . import fp16
from .biasing import Biasing
from .candidate import Candidate, Quantization
from .constants import Constants
from .empirical import Chain, chain
from .fusing import Fusing
from .guards import Guard
from .lookups import as_lookup
from .mended import Mended
from .pairs import Pairs
from .placement import DYNAMIC
from .plan import Plan
from .stored import Stored
from .wide import OPSET
from .writer import Writer


class Build:
    """One build: the state while the new graph grows, node by node in the old order."""

    def __init__(self, plan: Plan) -> None:
        builder = plan.builder
        self._plan = plan
        self._placement = plan.placement
        self._writer = writer = Writer(builder.model, builder.tensor_names, builder.node_names)
        self._seeds: set[int] = set()
        self._quantization: dict[str, Quantization] = {}
        guards: dict[tuple[int, int], Guard] = {}
        if plan.for_cpu_kernels:
            guards = {(guard.node, guard.position): guard for guard in builder.guards.find(plan.placement)}
        self._pairs = Pairs(plan, writer, self._quantization, guards)
        self._fusing = Fusing(plan, writer, self._pairs, guards)
        self._beside = Stored(writer, builder.weights, plan.recipe, plan.simulate)
        self._mended = Mended(builder.weights, builder.corrections, builder.target, plan.recipe, self._chain)
        biasing = Biasing(plan, writer, self._mended, self._pairs, self._quantization)
        self._constants = Constants(plan, writer, self._mended, biasing, self._quantization)

    def candidate(self) -> Candidate:
        """Write the graph."""
        builder, writer = self._plan.builder, self._writer
        for info in builder.model.proto.graph.input:
            self._pairs.add(info.name)
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
        wide = self._pairs.wide.made
        return Candidate(
            proto=proto,
            weights=weights,
            layers=self._placement.layers,
            quantization={**wide, **self._quantization},
            size_bytes=serialize.size(proto, weights),
            notes=(*self._placement.notes, *self._mended.notes.values()),
            corrections=dict(sorted(self._mended.files.items())),
            wide=wide,
        )

    def _node(self, i: int, original: onnx.NodeProto) -> None:
        """Write the i-th node, and the pairs behind it."""
        builder, writer = self._plan.builder, self._writer
        node = onnx.NodeProto()
        node.CopyFrom(original)
        layer = builder.by_node.get(i)
        if layer is not None:
            node.name = layer.name
        self._fusing.guard(node, i)
        self._stored_beside(node, i)
        undone = self._on_integers(node, original, i)
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
            self._pairs.add(name, node.output[position] if name in self._placement.replaced else name)

    def _stored_beside(self, node: onnx.NodeProto, i: int) -> None:
        """Tables, and the LSTM whose kernel quantizes what it reads by itself."""
        builder = self._plan.builder
        layer, table = builder.by_node.get(i), builder.tables.get(i)
        if table is not None and self._plan.recipe.get(TABLE + table.name) == "weight8":
            self._quantization |= self._beside.table(node, table)
        if layer is not None and layer.op_type in DYNAMIC and self._placement.layers[layer.name] == "int8":
            self._quantization |= self._beside.lstm(node, layer, builder.target.weight_bits)

    def _on_integers(self, node: onnx.NodeProto, original: onnx.NodeProto, i: int) -> str | None:
        """Put a node on integers as the placement says; returns its output where readers would undo that."""
        builder, placement = self._plan.builder, self._placement
        layer = builder.by_node.get(i)
        if i in placement.weights_only and layer is not None:
            self._constants.alone(node, layer)
        elif i in placement.int8_nodes or i in placement.wide_nodes:
            self._pairs.read(node, original, wide=i in placement.wide_nodes)
            if layer is not None:
                self._constants.of_layer(node, layer)
                return self._fusing.undone(layer)
            if self._pairs.lookup(original.output[0]):
                as_lookup(node, self._pairs.nothing(original.output[0]))
            else:
                self._constants.of_glue(node, i)
        elif i in builder.bias_adds:
            self._constants.of_bias_add(node, original, *builder.bias_adds[i])
        elif i in builder.rectified:
            self._fusing.rectifier(node, builder.rectified[i])
        return None

    def _half(self, name: str) -> str | None:
        """The float16 copy of a float constant."""
        weights = self._plan.builder.weights
        return self._writer.constant(f"{name}/fp16", weights.half(name)) if weights.is_float(name) else None

    def _chain(self) -> Chain:
        """What empirical bias correction is of: the recipe, its biases as they are."""
        placement = self._placement
        plain = replace(self._plan, recipe={**self._plan.recipe, BIAS: BIASES[0]}, simulate=True)
        roots = sorted(set(placement.pairs.values()))
        return chain(
            self._plan.builder,
            placement,
            plain.recipe,
            {root: self._pairs.parameters(root) for root in roots},
            {tensor: self._pairs.wide.parameters(tensor) for tensor in sorted(placement.wide)},
            lambda: Build(plain).candidate(),
        )
