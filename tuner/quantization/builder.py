"""From a recipe to a candidate: what is found once per model, and the entrance to a build."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ...strategies.words import ACTIVATION_SYMMETRY, WEIGHT_ONLY
from ..calibration.ranges import Ranges
from ..graph.analysis import Analysis, Layer
from ..graph.draft import tensor_names
from ..graph.index import GraphIndex
from ..graph.model import Model
from ..targets.base import Target
from . import fp16, scales
from .build import Build
from .calibrators import Calibrators
from .candidate import Candidate, Quantization
from .corrections import Corrections
from .guards import Guards
from .lookups import Lookup, hard_sigmoid
from .placement import Placer
from .plan import Plan
from .results import Source
from .weightonly import refusals
from .weights import Weights


class Builder:
    """Builds candidates of one model for one target; weights are quantized once per scheme and kept.

    Args:
        model: The float model.
        analysis: Its layers and glue.
        ranges: What calibration found.
        target: The runtime's profile.
        source: Where recipes with corrections find what calibration samples tell, None for nowhere.
    """

    def __init__(
        self,
        model: Model,
        analysis: Analysis,
        ranges: Ranges,
        target: Target,
        source: Source | None = None,
    ) -> None:
        self.model = model
        self.analysis = analysis
        self.ranges = ranges
        self.target = target
        self.calibrators = Calibrators(analysis)
        self.weights = Weights(model)
        self.corrections = Corrections(model, analysis, self.weights, source)
        self.index = GraphIndex(model.proto.graph)
        self.tensor_names = frozenset(tensor_names(model.proto.graph))
        self.node_names = frozenset(node.name for node in model.proto.graph.node)
        faults = {layer.name: fault for layer in analysis.layers if (fault := self._fault(layer))}
        too_large = {layer.name for layer in analysis.layers if self._overflows(layer)}
        refused = {
            layer.name: refusals(layer, target, self.weights, self._input_rank(layer)) for layer in analysis.layers
        }
        self.unweighted: Mapping[str, Mapping[str, str]] = {
            precision: {name: why[precision] for name, why in refused.items() if precision in why}
            for precision in WEIGHT_ONLY
        }
        self.placer = Placer(model, analysis, ranges, target, faults, too_large, self.unweighted)
        self.guards = Guards(model, ranges, self.weights)
        self.by_node = {layer.node: layer for layer in analysis.layers}
        self.layer_nodes = {i: layer.name for layer in analysis.layers for i in (layer.node, *layer.tail)}
        self.tables = {i: table for table in analysis.tables for i in table.nodes}
        self.glue_by_node = {glue.node: glue for glue in analysis.glue}
        self.bias_adds = dict(self._bias_adds())
        self.rectified = dict(self._rectified())
        self.lookups = dict(self._lookups())
        self.clips = {layer.output: bounds for layer in analysis.layers if (bounds := self._clip(layer))}

    @property
    def faults(self) -> Mapping[str, str]:
        """Layer name → why it cannot be int8, whatever a recipe says."""
        return self.placer.faults

    def build(
        self,
        recipe: Mapping[str, str],
        *,
        simulate: bool = False,
        overrides: Mapping[str, Quantization] | None = None,
        wide: Mapping[str, Quantization] | None = None,
    ) -> Candidate:
        """The candidate of a recipe.

        Args:
            recipe: Parameter → choice; missing layers and glue are float. What the target has no kernel for stays in
                float, with a note in the candidate.
            simulate: For a provider without integer kernels: Q/DQ pairs where the target has them, but weights in
                float32 rounded to their integers' values and biases in float32.
            overrides: Activation tensor → scale and zero point that are used instead of the calibrated ones.
            wide: Likewise for 16 bits.
        """
        return Build(Plan(self, recipe, self.placer.place(recipe), simulate, overrides or {}, wide or {})).candidate()

    def parameters(self, tensor: str, recipe: Mapping[str, str]) -> Quantization:
        """Scale and zero point of an activation under a recipe's symmetry and the tensor's calibrator.

        Behind a Clip with a negative end the zero point is always free: with a fixed one the integers would end past
        the Clip, and the kernel would not fuse.

        Raises:
            KeyError: The tensor was not calibrated.
        """
        if tensor in self.lookups:
            return self.lookups[tensor].read
        symmetry, dtype = recipe.get(ACTIVATION_SYMMETRY, self.target.symmetries[0]), self.activation_dtype(recipe)
        calibrator = self.calibrators.of(tensor, recipe)
        low, high = self.ranges.get(tensor, calibrator, symmetry)
        lowest = self.clips.get(tensor, (0.0, None))[0]
        fixed = symmetry == "symmetric" and (dtype != "uint8" or lowest is None or lowest >= 0)
        if not fixed and symmetry == "symmetric":
            low, high = self.ranges.get(tensor, calibrator, "asymmetric")
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

    def _input_rank(self, layer: Layer) -> int:
        return self.rank(layer.inputs[0]) if layer.inputs else 0

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

    def _lookups(self) -> list[tuple[str, Lookup]]:
        """Output of a HardSigmoid → its integer form, where it has one."""
        nodes = self.model.proto.graph.node
        if "HardSigmoid" not in self.target.glue:
            return []
        found = ((nodes[g.node], hard_sigmoid(nodes[g.node])) for g in self.analysis.glue if g.op_type == "HardSigmoid")
        return [(node.output[0], lookup) for node, lookup in found if lookup is not None]

    def _rectified(self) -> list[tuple[int, Layer]]:
        """Index of each Relu or Clip behind the kernel of a MatMul or Gemm → the layer."""
        found = []
        nodes = self.model.proto.graph.node
        for layer in self.analysis.layers:
            if layer.op_type not in ("MatMul", "Gemm"):
                continue
            end = layer.node
            for i in layer.tail:
                if i in self.bias_adds and self.rank(layer.inputs[0]) == 2:
                    end = i  # one kernel with its MatMul
            readers = self.index.consumers.get(nodes[end].output[0], [])
            found += [(reader, layer) for reader in readers if nodes[reader].op_type in ("Relu", "Clip")]
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
