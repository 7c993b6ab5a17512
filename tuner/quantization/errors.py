"""What quantization does to each layer: signal-to-noise ratios of its weight, its input and its output.

SQNR = 10 · log10(Σ x² / Σ (x − x̂)²) in decibels, over all samples and elements: 6 dB are one bit (Widrow & Kollár,
Quantization Noise, 2008, §1). The *local* error of an output is what its own integer weight and inputs cause where all
before it is float; the *propagated* one is what arrives there in the quantized model, whatever the cause.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnxruntime as ort

from ...evaluators.base import Feed
from ..calibration.collect import OpenSession, with_outputs
from ..graph.analysis import Analysis, Layer
from ..graph.model import Model
from ..graph.tensors import data_of, put
from .candidate import Candidate, Quantization

_MEASURED = ("int8", "weight8")
_CEILING = 120.0


@dataclass(frozen=True, slots=True)
class LayerError:
    """Signal-to-noise ratios of a layer that runs on integers, in decibels (at most 120; None where there is nothing).

    Attributes:
        layer: Its name.
        weight: Of its weight as rounded, None without a constant one.
        input: Of what it reads, quantized there; the lower one of two.
        local: Of its output, by its own weight and inputs alone.
        propagated: Of its output in the quantized model; None where nothing reads it in float.
    """

    layer: str
    weight: float | None
    input: float | None
    local: float | None
    propagated: float | None


@dataclass
class _Sums:
    """Power of a signal and of its error."""

    signal: float = 0.0
    error: float = 0.0

    def add(self, exact: np.ndarray, found: np.ndarray) -> None:
        wide = np.asarray(exact, np.float32).reshape(-1)
        off = wide - np.asarray(found, np.float32).reshape(-1)
        self.signal += float(np.dot(wide, wide))
        self.error += float(np.dot(off, off))

    @property
    def ratio(self) -> float | None:
        """Decibels; None without a signal or with one that is not finite."""
        if not (np.isfinite(self.signal) and np.isfinite(self.error)) or self.signal == 0.0:
            return None
        return min(_CEILING, 10.0 * float(np.log10(self.signal / max(self.error, self.signal * 1e-12))))


@dataclass
class _Observed:
    """The sums of one layer."""

    weight: float | None = None
    inputs: dict[str, _Sums] = field(default_factory=dict)
    local: _Sums = field(default_factory=_Sums)
    propagated: _Sums = field(default_factory=_Sums)


def measure(
    model: Model,
    analysis: Analysis,
    candidate: Candidate,
    simulated: Candidate,
    feeds: Iterable[Feed],
    open_session: OpenSession,
) -> tuple[LayerError, ...]:
    """The errors of every layer that is int8 or has its weights on 8 bits, in graph order.

    Args:
        model: The float model, rewritten as the candidate is.
        analysis: Of that model.
        candidate: As it runs.
        simulated: The recipe as `Builder.build(…, simulate=True)` makes it.
        feeds: Samples; their activations are held one feed at a time.
        open_session: As for `collect`, float kernels left float.
    """
    layers = [layer for layer in analysis.layers if candidate.layers.get(layer.name) in _MEASURED]
    graph = _Beside(model)
    places = {layer.name: output for layer, output in graph.copies(layers, simulated)}
    observed = {layer.name: _Observed(weight=graph.weights_ratio.get(layer.name)) for layer in layers}
    read = [name for layer in layers for name in (*layer.inputs, layer.output)]
    present = {name for node in candidate.proto.graph.node for name in node.output}
    common = [layer.output for layer in layers if layer.output in present]
    beside = open_session(with_outputs(graph.proto, [*read, *places.values()]), weights=graph.weights)
    running = open_session(with_outputs(candidate.proto, common), weights=candidate.weights)
    for feed in feeds:
        exact = _run(beside, feed, [*read, *places.values()])
        exact |= {name: np.asarray(value) for name, value in feed.items()}
        found = _run(running, feed, common)
        for layer in layers:
            seen = observed[layer.name]
            for name in layer.inputs:
                made = candidate.quantization.get(name)
                if made is not None and candidate.layers[layer.name] == "int8":
                    seen.inputs.setdefault(name, _Sums()).add(exact[name], rounded(exact[name], made))
            if layer.name in places:
                seen.local.add(exact[layer.output], exact[places[layer.name]])
            if layer.output in found:
                seen.propagated.add(exact[layer.output], found[layer.output])
    return tuple(_error(layer, observed[layer.name]) for layer in layers)


def rounded(values: np.ndarray, made: Quantization) -> np.ndarray:
    """Values as a Q and a DQ of one scale leave them, float32."""
    limits = np.iinfo(made.dtype)
    zero = float(made.zero_point)
    levels = np.clip(np.rint(np.asarray(values, np.float32) / made.scale) + zero, limits.min, limits.max)
    return np.asarray((levels - zero) * made.scale, np.float32)


def _error(layer: Layer, seen: _Observed) -> LayerError:
    inputs = [ratio for sums in seen.inputs.values() if (ratio := sums.ratio) is not None]
    return LayerError(
        layer=layer.name,
        weight=seen.weight,
        input=min(inputs, default=None),
        local=seen.local.ratio,
        propagated=seen.propagated.ratio,
    )


class _Beside:
    """The float graph, with quantized copies of its layers beside them that read its own tensors."""

    def __init__(self, model: Model) -> None:
        self.proto = onnx.ModelProto()
        self.proto.CopyFrom(model.proto)
        self.weights = dict(model.weights)
        self._model = model
        self._pairs: dict[str, str] = {}
        self._constants: set[str] = set()
        self.weights_ratio: dict[str, float | None] = {}

    def copies(self, layers: Iterable[Layer], form: Candidate) -> list[tuple[Layer, str]]:
        """Add a copy of each layer, tail included, as a simulated form has it; with the names of their outputs."""
        nodes = {node.name: node for node in form.proto.graph.node}
        constants = {tensor.name: tensor for tensor in form.proto.graph.initializer}
        floats = self._model.proto.graph.node
        found = []
        for layer in layers:
            chain = [nodes.get(layer.name), *(nodes.get(floats[i].name) for i in layer.tail)]
            if any(node is None for node in chain):
                continue
            names: dict[str, str] = {}
            read = form.layers[layer.name] == "int8"  # reads integers
            for original, node in zip([floats[layer.node], *(floats[i] for i in layer.tail)], chain, strict=True):
                assert node is not None
                copy = onnx.NodeProto()
                copy.CopyFrom(node)
                copy.name = self._fresh(f"{layer.name}/{original.op_type}")
                for position, name in enumerate(node.input):
                    if name in constants:
                        copy.input[position] = self._constant(constants[name], form.weights)
                    elif original.input[position] in names:
                        copy.input[position] = names[original.input[position]]
                    elif read and original.input[position] in form.quantization and original is floats[layer.node]:
                        copy.input[position] = self._pair(original.input[position], form.quantization)
                    else:
                        copy.input[position] = original.input[position]
                for position, name in enumerate(original.output):
                    names[name] = copy.output[position] = self._fresh(name)
                self.proto.graph.node.append(copy)
                if original is floats[layer.node]:
                    self._rate(layer, node, constants, form)
            found.append((layer, names[layer.output]))
        return found

    def _rate(
        self, layer: Layer, node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto], form: Candidate
    ) -> None:
        if layer.weight is None or layer.weight_input is None or node.input[layer.weight_input] not in constants:
            return
        sums = _Sums()
        stored = next(t for t in self._model.proto.graph.initializer if t.name == layer.weight)
        sums.add(data_of(stored, self._model.weights), data_of(constants[node.input[layer.weight_input]], form.weights))
        self.weights_ratio[layer.name] = sums.ratio

    def _constant(self, tensor: onnx.TensorProto, weights: Mapping[str, np.ndarray]) -> str:
        name = self._fresh(tensor.name)
        if name not in self._constants:
            self._constants.add(put(self.proto.graph, self.weights, name, data_of(tensor, weights)))
        return name

    def _pair(self, tensor: str, quantization: Mapping[str, Quantization]) -> str:
        """What a Q and a DQ make of a float tensor."""
        if tensor not in self._pairs:
            made, stem = quantization[tensor], self._fresh(tensor)
            scale, zero = f"{stem}/scale", f"{stem}/zero"
            put(self.proto.graph, self.weights, scale, np.asarray(made.scale, np.float32))
            put(self.proto.graph, self.weights, zero, np.asarray(made.zero_point, made.dtype))
            quantized, self._pairs[tensor] = f"{stem}/q", f"{stem}/dq"
            nodes = self.proto.graph.node
            nodes.add(op_type="QuantizeLinear", input=[tensor, scale, zero], output=[quantized])
            nodes.add(op_type="DequantizeLinear", input=[quantized, scale, zero], output=[self._pairs[tensor]])
        return self._pairs[tensor]

    @staticmethod
    def _fresh(name: str) -> str:
        return f"autoquant/beside/{name}"


def _run(session: ort.InferenceSession, feed: Feed, names: Iterable[str]) -> dict[str, np.ndarray]:
    given = {value.name for value in session.get_inputs()}
    wanted = [name for name in dict.fromkeys(names) if name not in given]
    return dict(zip(wanted, session.run(wanted, dict(feed)), strict=True)) if wanted else {}
