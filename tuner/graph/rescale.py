"""Channels of activations divided by numbers that the weights around them make up for: the same function."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod

import numpy as np
import onnx
from onnx import helper

from .analysis import Analysis, Layer
from .draft import Draft
from .index import GraphIndex
from .model import Model
from .order import put_nodes
from .sites import Site, biases_of, groups_of


@dataclass(frozen=True)
class Rescaled:
    """A model with scaled activations.

    Attributes:
        model: It computes what it did before, to float rounding. Layers have kept their names.
        sources: New tensor → the tensor that it is a scaled form of.
        added: Outputs of the added Muls, between float operators and the integers.
    """

    model: Model
    sources: Mapping[str, str] = field(default_factory=dict)
    added: frozenset[str] = frozenset()


def rescaled(
    model: Model,
    analysis: Analysis,
    scales: Mapping[Site, np.ndarray],
    offsets: Mapping[Site, np.ndarray] | None = None,
) -> Rescaled:
    """Divide the channels of activations and multiply the weights behind them.

    With s per channel: W₁ ← W₁/s, b₁ ← b₁/s, W₂ ← W₂·s (Nagel et al. 2019, section 4.1). Where the writer is a
    float operator its own constants take up 1/s if nobody else reads it (LayerNormalization, a constant Mul: Xiao et
    al. 2023, section 4), else a Mul is added; another Mul restores what others read.

    Args:
        model: The float model.
        analysis: Its layers.
        scales: Site → float32 [channels], above 0.
        offsets: Site with a Relu and readers that have biases and pad nothing → float32 [channels], ≥ 0, not above any
            value the activation takes: subtracted before the Relu and made up for by the readers' biases
            (high-bias absorption, section 4.1.3).
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    work = _Work(Draft(proto, dict(model.weights)), analysis, _tag(scales, offsets or {}))
    for site, scale in scales.items():
        work.scale(site, np.asarray(scale, np.float32), (offsets or {}).get(site))
    work.finish()
    made = replace(model, proto=proto, weights=work.draft.weights)
    return Rescaled(made, work.sources, frozenset(work.added))


def columns(weight: np.ndarray, layer: Layer, groups: int, scale: np.ndarray) -> np.ndarray:
    """A weight with each input channel multiplied, float32."""
    if layer.op_type == "Conv":
        shape = (groups, weight.shape[0] // groups, *weight.shape[1:])
        factors = scale.reshape(groups, 1, -1, *[1] * (weight.ndim - 2))
        return np.asarray((weight.reshape(shape) * factors).reshape(weight.shape), np.float32)
    assert layer.weight_axis is not None
    return np.asarray(weight * (scale[:, np.newaxis] if layer.weight_axis == 1 else scale), np.float32)


def rows(weight: np.ndarray, layer: Layer, scale: np.ndarray) -> np.ndarray:
    """A weight with each output channel divided, float32."""
    assert layer.weight_axis is not None
    shape = [1] * weight.ndim
    shape[layer.weight_axis] = -1
    return np.asarray(weight / scale.reshape(shape), np.float32)


def input_sums(weight: np.ndarray, layer: Layer, groups: int, values: np.ndarray) -> np.ndarray:
    """What each output of a layer is where every input channel has one value everywhere, float64 [outputs]."""
    wide = columns(weight, layer, groups, values.astype(np.float32)).astype(np.float64)
    assert layer.weight_axis is not None
    flat = np.moveaxis(wide, layer.weight_axis, 0).reshape(wide.shape[layer.weight_axis], -1)
    return np.asarray(flat.cumsum(axis=1)[:, -1])  # one after the other: the same bits on every machine


def _tag(scales: Mapping[Site, np.ndarray], offsets: Mapping[Site, np.ndarray]) -> str:
    """Tells tensors of different scales apart."""
    digest = hashlib.sha256()
    for values in (*scales.values(), *offsets.values()):
        digest.update(np.ascontiguousarray(values, np.float32).tobytes())
    return digest.hexdigest()[:8]


class _Work:
    """The graph while it changes."""

    def __init__(self, draft: Draft, analysis: Analysis, tag: str) -> None:
        self.draft = draft
        self.sources: dict[str, str] = {}
        self.added: set[str] = set()
        self._graph = draft.proto.graph
        self._nodes = list(self._graph.node)  # added ones are put between at the end: indices stay
        self._index = GraphIndex(self._graph)
        self._layers = {layer.name: layer for layer in analysis.layers}
        self._tag = tag
        self._after: dict[int, list[onnx.NodeProto]] = {}
        self._names = {node.name for node in self._nodes}

    def scale(self, site: Site, scale: np.ndarray, offset: np.ndarray | None) -> None:
        """Make the change of one site."""
        readers = [self._layers[name] for name in site.readers]
        if site.writer is not None:
            self._written(site, scale, offset)
        elif site.others or not self._absorbed(site, scale):
            self._enter(site, scale)
        else:
            self._rename(site.tensor, site.readers)
        for layer in readers:
            self._constant(layer, columns(self._value(layer), layer, self._groups(layer), scale))
            if offset is not None:
                moved = input_sums(self._value(layer), layer, self._groups(layer), offset / scale)
                (name,) = biases_of(layer, self._index)
                self._put(name, self._of(name) + moved.reshape(self._of(name).shape))

    def finish(self) -> None:
        """Put the added nodes where they belong."""
        fresh = [*self._after.get(-1, ())]
        for i, node in enumerate(self._nodes):
            fresh += [node, *self._after.get(i, ())]
        put_nodes(self._graph, fresh)
        written = {name for node in self._graph.node for name in node.output}
        for i in range(len(self._graph.value_info) - 1, -1, -1):
            if self._graph.value_info[i].name not in written:
                del self._graph.value_info[i]

    def _written(self, site: Site, scale: np.ndarray, offset: np.ndarray | None) -> None:
        """Let the writer's weight and bias take up the scale."""
        assert site.writer is not None
        layer = self._layers[site.writer]
        self._constant(layer, rows(self._value(layer), layer, scale))
        for name in biases_of(layer, self._index):
            shifted = self._of(name) - (0.0 if offset is None else offset.reshape(self._of(name).shape))
            self._put(name, shifted / scale.reshape(self._of(name).shape))
        ends = [layer.output, *(self._nodes[i].output[0] for i in site.chain)]
        for position, tensor in enumerate(ends):
            if tensor != site.tensor:
                self._rename(tensor, None)
                continue
            assert position == len(ends) - 1
            new = self._rename(tensor, site.readers if site.others else None)
            if site.others:
                self._leave(site, new, scale)

    def _rename(self, tensor: str, readers: Sequence[str] | None) -> str:
        """Give what writes a tensor, and these layers that read it (None for everyone), a new name for it."""
        new = self._new(tensor)
        i = self._index.producer[tensor]
        for position, name in enumerate(self._nodes[i].output):
            if name == tensor:
                self._nodes[i].output[position] = new
        wanted = None if readers is None else {self._layers[name].node for name in readers}
        for reader in self._index.consumers.get(tensor, ()):
            if wanted is None or reader in wanted:
                self._redirect(reader, tensor, new)
        return new

    def _leave(self, site: Site, new: str, scale: np.ndarray) -> None:
        """A Mul that brings back, under its old name, what others read."""
        self._mul(site, new, site.tensor, scale)
        self.added.add(site.tensor)

    def _enter(self, site: Site, scale: np.ndarray) -> None:
        """A Mul for the layers alone."""
        new = self._new(site.tensor)
        self._mul(site, site.tensor, new, np.asarray(np.float32(1) / scale, np.float32))
        self.added.add(new)
        for reader in site.readers:
            self._redirect(self._layers[reader].node, site.tensor, new)

    def _mul(self, site: Site, source: str, output: str, factors: np.ndarray) -> None:
        shape = [-1] + [1] * (self._rank(site.tensor) - 2) if site.axis == 1 else [-1]
        constant = self.draft.add_constant(self.draft.free_name(f"{output}/factors"), factors.reshape(shape))
        name = f"{output}/Mul"
        while name in self._names:
            name += "_"
        self._names.add(name)
        behind = self._after.setdefault(self._index.producer.get(site.tensor, -1), [])
        behind.append(helper.make_node("Mul", [source, constant], [output], name=name))

    def _rank(self, tensor: str) -> int:
        """Of a tensor that a Conv reads or writes, from its weight."""
        for layer in self._layers.values():
            if layer.op_type == "Conv" and tensor in (layer.inputs[0], layer.output):
                assert layer.weight is not None
                return len(self._index.initializers[layer.weight].dims)
        raise AssertionError(f"no Conv reads or writes {tensor}")

    def _absorbed(self, site: Site, scale: np.ndarray) -> bool:
        """Whether the operator that writes a tensor took up 1/scale in constants of its own."""
        i = self._index.producer.get(site.tensor)
        if i is None:
            return False
        node = self._nodes[i]
        if node.domain in ("", "ai.onnx") and node.op_type == "LayerNormalization":
            axis = next((a.i for a in node.attribute if a.name == "axis"), -1)
            if axis != -1 or site.axis != -1 or len(node.output) != 1:
                return False
            constants = [name for name in node.input[1:] if name]
        elif node.domain in ("", "ai.onnx") and node.op_type == "Mul":
            constants = [name for name in node.input if name in self._index.initializers]
        else:
            return False
        if not constants or any(not self._per_channel(name, site) for name in constants):
            return False
        for position, name in enumerate(node.input):
            if name in constants:
                values = self._of(name)
                divided = np.asarray(values / scale.reshape(values.shape), np.float32)
                node.input[position] = self.draft.add_constant(self.draft.free_name(f"{name}/{self._tag}"), divided)
        return True

    def _per_channel(self, name: str, site: Site) -> bool:
        """Whether a float constant has one element for each channel of a site's tensor."""
        tensor = self._index.initializers.get(name)
        if tensor is None or tensor.data_type != onnx.TensorProto.FLOAT:
            return False
        behind = 0 if site.axis == -1 else self._rank(site.tensor) - 2
        dims = list(tensor.dims)
        return dims[len(dims) - behind - 1 :] == [site.channels] + [1] * behind and prod(dims) == site.channels

    def _new(self, tensor: str) -> str:
        new = self.draft.free_name(f"{tensor}/{self._tag}")
        self.sources[new] = tensor
        return new

    def _redirect(self, i: int, tensor: str, new: str) -> None:
        for position, name in enumerate(self._nodes[i].input):
            if name == tensor:
                self._nodes[i].input[position] = new

    def _groups(self, layer: Layer) -> int:
        return groups_of(self._nodes[layer.node])

    def _value(self, layer: Layer) -> np.ndarray:
        assert layer.weight is not None
        return self._of(layer.weight)

    def _of(self, name: str) -> np.ndarray:
        return np.asarray(self.draft.value(self._index.initializers[name]))

    def _constant(self, layer: Layer, array: np.ndarray) -> None:
        assert layer.weight is not None
        self._put(layer.weight, array)

    def _put(self, name: str, array: np.ndarray) -> None:
        self.draft.replace_value(self._index.initializers[name], np.ascontiguousarray(array, np.float32))
