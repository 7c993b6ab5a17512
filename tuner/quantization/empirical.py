"""Empirical bias correction: what a layer's mean output is off by in the quantized model goes into its bias."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from ...evaluators.base import Feed
from ...strategies.words import ACTIVATION_SYMMETRY, CALIBRATOR, CALIBRATOR_OF, LAYER, OP
from ..calibration.collect import OpenSession, stream
from ..graph.analysis import Layer
from ..graph.model import Model
from .candidate import Candidate, Quantization
from .stages import stages

if TYPE_CHECKING:
    from .builder import Builder
    from .placement import Placement

_ELSEWHERE = (LAYER, OP, CALIBRATOR, ACTIVATION_SYMMETRY, CALIBRATOR_OF)
"""Parameters that show in what is placed where, and how it is quantized."""


@dataclass(frozen=True)
class Chain:
    """The layers of one recipe that are corrected one after the other.

    Attributes:
        name: Tells recipes apart that differ in anything quantized; without the data.
        model: The float model.
        layers: Those whose bias can take a correction, in graph order.
        sizes: Their output channels.
        largest: Bytes of the largest tensor of one sample.
        quantized: Builds the recipe with its biases as they are, kernels simulated.
    """

    name: str
    model: Model
    layers: Sequence[Layer]
    sizes: Sequence[int]
    largest: int
    quantized: Callable[[], Candidate]

    def compute(self, built: Candidate, feeds: Sequence[Feed], open_session: OpenSession) -> np.ndarray:
        """What each layer's bias must lose, one after the other, float64 [all channels].

        Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction", appendix D: with
        everything before a layer quantized and corrected, b ← b − (E[ỹ] − E[y]) per output channel, y its output in
        the float model before any activation function. Layers in graph order, each on all samples before the next.

        Args:
            built: What `quantized` made.
            feeds: A few dozen samples, run together: what lies between two layers is held for all of them.
            open_session: Of a piece of a graph, its float kernels left float.
        """
        nodes = self.model.proto.graph.node
        names = {layer.name: nodes[layer.node].output[0] for layer in self.layers}
        exact = self._exact(names, feeds, open_session)
        written = {node.name: node.output[0] for node in built.proto.graph.node}
        layer_of = {written[layer.name]: layer for layer in self.layers}
        shifts: dict[str, np.ndarray] = {}
        for tensor, values in stages(built.proto, built.weights, list(layer_of), feeds, open_session):
            layer = layer_of[tensor]
            mean = _Mean(_axis(layer))
            for value in values:
                mean.add(value)
            shift = mean.value - exact[layer.name]
            shift[~np.isfinite(shift)] = 0.0
            shifts[layer.name] = shift
            for value in values:
                value -= _along(shift, _axis(layer), value.ndim).astype(value.dtype)
        return np.concatenate([shifts[layer.name] for layer in self.layers])

    def by_layer(self, values: np.ndarray) -> Mapping[str, np.ndarray]:
        """Layer → its part of what `compute` found."""
        parts = np.split(values, np.cumsum(self.sizes)[:-1])
        return {layer.name: part for layer, part in zip(self.layers, parts, strict=True)}

    def _exact(
        self, names: Mapping[str, str], feeds: Iterable[Feed], open_session: OpenSession
    ) -> Mapping[str, np.ndarray]:
        means = {layer.name: _Mean(_axis(layer)) for layer in self.layers}
        for _, parts in stream(self.model, list(names.values()), feeds, open_session=open_session):
            for values in parts:
                for name, tensor in names.items():
                    means[name].add(values[tensor])
        return {name: mean.value for name, mean in means.items()}


class _Mean:
    """A mean per channel, float64."""

    def __init__(self, axis: int) -> None:
        self._axis = axis
        self._sum: np.ndarray | float = 0.0
        self._count = 0

    def add(self, values: np.ndarray) -> None:
        channels = self._axis % values.ndim
        others = tuple(axis for axis in range(values.ndim) if axis != channels)
        self._sum = self._sum + values.sum(axis=others, dtype=np.float64)
        self._count += values.size // values.shape[channels]

    @property
    def value(self) -> np.ndarray:
        return np.asarray(self._sum / max(1, self._count))


def _axis(layer: Layer) -> int:
    """Of a layer's output channels."""
    if layer.op_type == "Conv":
        return 1
    return -2 if layer.op_type == "MatMul" and layer.weight_input == 0 else -1


def _along(values: np.ndarray, axis: int, ndim: int) -> np.ndarray:
    """A vector along one axis of an array of so many."""
    shape = [1] * ndim
    shape[axis] = -1
    return values.reshape(shape)


def chain(
    builder: Builder,
    placement: Placement,
    recipe: Mapping[str, str],
    activations: Mapping[str, Quantization],
    wide: Mapping[str, Quantization],
    quantized: Callable[[], Candidate],
) -> Chain:
    """The chain of a recipe.

    Args:
        builder: Of its variant.
        placement: Where it puts what.
        recipe: Its choices, biases uncorrected.
        activations: Tensor → how it is quantized.
        wide: Likewise to 16 bits.
        quantized: Builds it, kernels simulated.
    """
    with_bias = {layer.name for layer, _ in builder.bias_adds.values()}
    layers = [
        layer
        for layer in builder.analysis.layers
        if layer.node in placement.int8_nodes | placement.wide_nodes | placement.weights_only
        and layer.weight is not None
        and (layer.op_type in ("Conv", "Gemm") or layer.name in with_bias)
    ]
    # An integer Softmax has a scale of its own where it runs on one (`scales.SOFTMAX`).
    nodes, writer = builder.model.proto.graph.node, builder.index.producer
    softmax = {name for name in activations if name in writer and nodes[writer[name]].op_type == "Softmax"}
    name = [
        builder.model.fingerprint,
        builder.target.name,
        builder.target.weight_bits,
        sorted(placement.layers.items()),
        sorted(nodes[i].name for i in placement.int8_nodes),
        sorted((key, value) for key, value in recipe.items() if not key.startswith(_ELSEWHERE)),
        [(key, float(made.scale), int(made.zero_point)) for key, made in activations.items() if key not in softmax],
    ]
    if wide:
        name.append([(key, float(made.scale), int(made.zero_point)) for key, made in wide.items()])
    sizes = [_channels(builder, layer) for layer in layers]
    largest = max((4 * prod(shape[1:]) for shape in builder.ranges.shapes.values()), default=0)
    return Chain(json.dumps(name), builder.model, layers, sizes, largest, quantized)


def _channels(builder: Builder, layer: Layer) -> int:
    assert layer.weight is not None
    assert layer.weight_axis is not None
    return builder.weights.dims(layer.weight)[layer.weight_axis]
