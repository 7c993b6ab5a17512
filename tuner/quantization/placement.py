"""Where Q/DQ pairs stand: a recipe's precisions, carried through the graph."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

from ...strategies.words import INTEGER_ACTIVATIONS, LAYER, OP, WEIGHT_ONLY
from ..calibration.ranges import Ranges
from ..graph.analysis import Analysis, Glue, Layer
from ..graph.index import GraphIndex
from ..graph.model import Model
from ..graph.recurrent import GATES
from ..targets.base import Target
from .lookups import hard_sigmoid

DYNAMIC = ("LSTM",)
"""Operators whose integer kernel quantizes what it reads by itself, and writes float."""


@dataclass(frozen=True, slots=True)
class Placement:
    """What of the graph is on integers.

    Attributes:
        layers: Layer name → precision.
        int8_nodes: Nodes whose activation inputs come through a DQ: compute nodes of int8 layers and int8 glue.
        pairs: Tensor with a Q → the tensor whose scale and zero point it takes (itself, or what a passing operator
            read), in no particular order.
        replaced: Those whose float form is gone: written by an integer kernel. Everyone reads them through a DQ.
        notes: Why a layer stays float against the recipe.
        wide_nodes: Nodes whose activation inputs come through a DQ of 16 bits: compute nodes of int16 layers.
        wide: Tensors with a Q of 16 bits.
        wide_written: Those of `replaced` that a kernel of 16 bits writes. An 8-bit pair of one stands behind its DQ.
        weights_only: Nodes that compute in float with their weights on integers.
    """

    layers: Mapping[str, str]
    int8_nodes: frozenset[int]
    pairs: Mapping[str, str]
    replaced: frozenset[str]
    notes: tuple[str, ...]
    wide_nodes: frozenset[int] = frozenset()
    wide: frozenset[str] = frozenset()
    wide_written: frozenset[str] = frozenset()
    weights_only: frozenset[int] = frozenset()


class Placer:
    """Places Q/DQ pairs for any recipe on one model; what does not depend on the recipe is found once."""

    def __init__(
        self,
        model: Model,
        analysis: Analysis,
        ranges: Ranges,
        target: Target,
        faults: Mapping[str, str],
        too_large: Set[str] = frozenset(),
        unweighted: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        """Faults: layer name → why its constants cannot be quantized; too_large: layers that overflow float16.

        Unweighted: precision (of weights alone) → layer name → why it cannot have it.
        """
        self._analysis = analysis
        self._target = target
        self._index = GraphIndex(model.proto.graph)
        self._too_large = too_large
        self._unweighted = unweighted or {}
        found = {layer.name: self._fault(layer, ranges, faults) for layer in analysis.layers}
        self.faults: Mapping[str, str] = {name: fault for name, fault in found.items() if fault}
        known = ranges.values.keys()
        self._glue = [
            glue
            for glue in analysis.glue
            if glue.op_type in target.glue and glue.inputs and known >= {*glue.inputs, *glue.outputs}
            if glue.op_type != "HardSigmoid" or hard_sigmoid(model.proto.graph.node[glue.node])
        ]
        self._direct = {layer.output: layer for layer in analysis.layers if self.writes_output(layer, ranges)}

    def writes_output(self, layer: Layer, ranges: Ranges) -> bool:
        """Whether the integer kernel itself can write the layer's output (nothing in float stands in between)."""
        if layer.op_type in DYNAMIC:
            return False
        nodes = self._index.graph.node
        biased = any(nodes[i].op_type == "Add" for i in layer.tail)
        return not (layer.op_type == "MatMul" and biased) or len(ranges.shapes.get(layer.inputs[0], ())) == 2

    def _fault(self, layer: Layer, ranges: Ranges, faults: Mapping[str, str]) -> str:
        """Why a layer cannot be int8, or the empty string."""
        if layer.op_type not in self._target.layers:
            return f"the target {self._target.name} has no integer kernel for {layer.op_type}"
        if layer.name in faults:
            return faults[layer.name]
        needed = (*layer.inputs, layer.output) if self._target.layers[layer.op_type] else layer.inputs
        missing = next((name for name in needed if name not in ranges.values), None)
        return f"its tensor {missing!r} was never seen in calibration, or infinite" if missing is not None else ""

    def place(self, recipe: Mapping[str, str]) -> Placement:
        """The placement of a recipe; what the target has no kernel for stays float."""
        precisions: dict[str, str] = {}
        notes: list[str] = []
        nodes: set[int] = set()
        read: set[str] = set()
        written: set[str] = set()
        wide_nodes: set[int] = set()
        wide: set[str] = set()
        wide_written: set[str] = set()
        for layer in self._analysis.layers:
            precision = recipe.get(LAYER + layer.group, "fp32")
            if precision in INTEGER_ACTIVATIONS and layer.name in self.faults:
                notes.append(f"{layer.name} stays in float: {self.faults[layer.name]}.")
                precision = "fp32"
            elif precision in WEIGHT_ONLY:
                if fault := self._unweighted.get(precision, {}).get(layer.name):
                    notes.append(f"{layer.name} stays in float, not {precision}: {fault}.")
                    precision = "fp32"
            elif precision == "fp16" and layer.name in self._too_large:
                notes.append(f"{layer.name} stays in float32: its values exceed float16's range.")
                precision = "fp32"
            elif precision == "fp16" and layer.op_type in GATES:
                notes.append(f"{layer.name} stays in float32: recurrent layers are not run in float16.")
                precision = "fp32"
            elif precision not in self._target.precisions:
                notes.append(f"{layer.name} stays in float: the target {self._target.name} has no {precision}.")
                precision = "fp32"
            precisions[layer.name] = precision
            if precision == "int8" and layer.op_type not in DYNAMIC:
                nodes.add(layer.node)
                read.update(layer.inputs)
                if self._target.layers[layer.op_type]:
                    written.add(layer.output)
            elif precision == "int16":
                wide_nodes.add(layer.node)
                wide.update(layer.inputs)
                if self._target.layers[layer.op_type]:
                    wide_written.add(layer.output)
        wanted = [glue for glue in self._glue if recipe.get(OP + glue.op_type) == "int8"]
        for glue in wanted:
            if not glue.passes:
                nodes.add(glue.node)
                read.update(glue.inputs)
                written.update(glue.outputs)
        shared = self._pass(wanted, nodes, read, written)
        for tensor in read & self._direct.keys():
            layer = self._direct[tensor]
            if precisions[layer.name] == "int8":
                written.add(tensor)
        pairs = {tensor: _root(tensor, shared) for tensor in read | written}
        return Placement(
            precisions,
            frozenset(nodes),
            pairs,
            frozenset(written | wide_written),
            tuple(notes),
            frozenset(wide_nodes),
            frozenset(wide | wide_written),
            frozenset(wide_written),
            frozenset(layer.node for layer in self._analysis.layers if precisions[layer.name] in WEIGHT_ONLY),
        )

    def _pass(self, wanted: list[Glue], nodes: set[int], read: set[str], written: set[str]) -> dict[str, str]:
        """Let int8 through the operators that only move values, where it arrives or is asked for.

        Returns:
            Output of a passing operator → its input: both have one scale.
        """
        passing = [glue for glue in wanted if glue.passes]
        shared: dict[str, str] = {}
        changed = True
        while changed:
            changed = False
            for glue in passing:
                if glue.node not in nodes and (
                    any(name in read or name in written for name in glue.inputs)
                    or any(name in read for name in glue.outputs)
                ):
                    nodes.add(glue.node)
                    read.update(glue.inputs)
                    written.update(glue.outputs)
                    shared.update(dict.fromkeys(glue.outputs, glue.inputs[0]))
                    changed = True
        return shared


def _root(tensor: str, shared: Mapping[str, str]) -> str:
    while tensor in shared:
        tensor = shared[tensor]
    return tensor
