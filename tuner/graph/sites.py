"""Where the channels of an activation can be scaled: into the weights that write it and out of those that read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import onnx
from onnx import TensorProto, helper

from .analysis import Analysis, Layer
from .index import GraphIndex
from .model import Model
from .shapes import TensorType, tensor_types

_HOMOGENEOUS = frozenset(
    ("Relu", "LeakyRelu", "PRelu", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Identity")
)
"""f(a·x) = a·f(x) for a > 0, each channel alone."""
_RESHAPING = frozenset(("Flatten", "Reshape", "Squeeze"))


@dataclass(frozen=True, slots=True)
class Site:
    """An activation whose channels may be divided by positive numbers.

    Attributes:
        tensor: The activation that layers read, or that a Conv writes for float operators.
        axis: Of its channels: 1, or -1 for the last.
        channels: How many.
        writer: The layer whose weight takes the numbers up; None where a float operator writes the activation.
        chain: Nodes between the writer and the activation, positively homogeneous, in order.
        readers: Layers whose weights make up for them.
        others: Whether others read the activation, or it is an output of the graph: they must find it as it was.
    """

    tensor: str
    axis: int
    channels: int
    writer: str | None
    chain: tuple[int, ...]
    readers: tuple[str, ...]
    others: bool


def sites(model: Model, analysis: Analysis) -> tuple[Site, ...]:
    """The sites of a model, in the order of the layers that write or read them.

    A layer takes part with a constant float weight (Conv, Gemm, MatMul of two dimensions) that nobody else reads, as a
    writer with at most a constant bias and a Relu of its own behind it. Every tensor is of one site at most.
    """
    return _Finder(model, analysis).find()


class _Finder:
    def __init__(self, model: Model, analysis: Analysis) -> None:
        self._analysis = analysis
        self._index = GraphIndex(model.proto.graph)
        self._nodes = model.proto.graph.node
        self._types: Mapping[str, TensorType] = tensor_types(model.proto)
        self._layers = [layer for layer in analysis.layers if self._takes_part(layer)]
        self._reading: dict[str, list[Layer]] = {}
        for layer in self._layers:
            self._reading.setdefault(layer.inputs[0], []).append(layer)
        self._written = {layer.output for layer in analysis.layers}

    def find(self) -> tuple[Site, ...]:
        found: dict[str, Site] = {}
        for layer in self._analysis.layers:
            for site in (self._before(layer), self._behind(layer)):
                if site is not None:
                    found.setdefault(site.tensor, site)
        inner = {name for site in found.values() for i in site.chain for name in self._nodes[i].input}
        return tuple(site for site in found.values() if site.tensor not in inner)

    def _before(self, layer: Layer) -> Site | None:
        """What a layer reads, where float operators write it."""
        tensor = layer.inputs[0]
        if tensor in self._written or layer not in self._reading.get(tensor, ()):
            return None
        axis, count = self._side(layer)
        readers = self._readers(tensor, axis, count)
        return Site(tensor, axis, count, None, (), readers, self._others(tensor, readers)) if readers else None

    def _behind(self, layer: Layer) -> Site | None:
        """What a layer writes, as far down as it is read by layers."""
        if layer not in self._layers or not self._homogeneous_tail(layer):
            return None
        assert layer.weight is not None
        assert layer.weight_axis is not None
        count = int(self._index.initializers[layer.weight].dims[layer.weight_axis])
        axis = 1 if layer.op_type == "Conv" else -1
        tensor, chain = layer.output, list[int]()
        while True:
            readers = self._readers(tensor, axis, count)
            if readers:
                return Site(tensor, axis, count, layer.name, tuple(chain), readers, self._others(tensor, readers))
            step = self._onward(tensor, axis)
            if step is None:
                break
            chain.append(step)
            tensor = self._nodes[step].output[0]
            axis = -1 if self._nodes[step].op_type in _RESHAPING else axis
        if layer.op_type != "Conv":  # of the others no kernel writes integers that float operators read
            return None
        return Site(layer.output, 1, count, layer.name, (), (), True)

    def _onward(self, tensor: str, axis: int) -> int | None:
        """The node behind a tensor, where it alone reads it and is transparent for the channels."""
        i = self._index.sole_consumer(tensor)
        if i is None:
            return None
        node = self._nodes[i]
        if node.domain not in ("", "ai.onnx") or len(node.output) != 1 or node.input[0] != tensor:
            return None
        if node.op_type in _HOMOGENEOUS:
            pools = node.op_type not in ("Relu", "LeakyRelu", "PRelu", "Identity")
            return i if axis == 1 or not pools else None
        if node.op_type in _RESHAPING and axis == 1:
            before, behind = self._shape(tensor), self._shape(node.output[0])
            flat = before is not None and len(before) > 2 and all(size == 1 for size in before[2:])
            if flat and behind is not None and len(behind) == 2 and before is not None and behind[1] == before[1]:
                return i
        return None

    def _shape(self, tensor: str) -> tuple[int | str | None, ...] | None:
        return self._types[tensor].shape if tensor in self._types else None

    def _readers(self, tensor: str, axis: int, count: int) -> tuple[str, ...]:
        """The layers that read a tensor's channels on this axis."""
        found = []
        for layer in self._reading.get(tensor, ()):
            side, size = self._side(layer)
            same_axis = side == axis or len(self._shape(tensor) or ()) == 2
            if same_axis and size == count:
                found.append(layer.name)
        return tuple(found)

    def _others(self, tensor: str, readers: tuple[str, ...]) -> bool:
        nodes = {layer.node for layer in self._layers if layer.name in readers}
        return tensor in self._index.outputs or not set(self._index.consumers.get(tensor, ())) <= nodes

    def _side(self, layer: Layer) -> tuple[int, int]:
        """The axis and number of the channels that a layer reads."""
        assert layer.weight is not None
        dims = self._index.initializers[layer.weight].dims
        if layer.op_type == "Conv":
            return 1, int(dims[1]) * groups_of(self._nodes[layer.node])
        assert layer.weight_axis is not None
        return -1, int(dims[1 - layer.weight_axis])

    def _takes_part(self, layer: Layer) -> bool:
        node = self._nodes[layer.node]
        if layer.op_type not in ("Conv", "Gemm", "MatMul") or layer.weight is None or layer.weight_axis is None:
            return False
        weight = self._index.initializers.get(layer.weight)
        if weight is None or weight.data_type != TensorProto.FLOAT or layer.weight_input != 1:
            return False
        if layer.op_type == "Gemm" and any(a.name == "transA" and a.i for a in node.attribute):
            return False
        if layer.op_type == "MatMul" and len(weight.dims) != 2:
            return False
        return len(self._index.consumers[layer.weight]) == 1 and list(node.input).count(layer.inputs[0]) == 1

    def _homogeneous_tail(self, layer: Layer) -> bool:
        """Whether a layer's output scales with its weight and bias."""
        assert layer.weight is not None
        assert layer.weight_axis is not None
        count = int(self._index.initializers[layer.weight].dims[layer.weight_axis])
        types = [self._nodes[i].op_type for i in layer.tail]
        if any(kind not in ("Relu", "Add") for kind in types) or (layer.op_type != "MatMul" and "Add" in types):
            return False
        return all(self._vector(name, count) for name in biases_of(layer, self._index))

    def _vector(self, name: str, count: int) -> bool:
        bias = self._index.initializers.get(name)
        if bias is None or bias.data_type != TensorProto.FLOAT or len(self._index.consumers[name]) != 1:
            return False
        return prod(bias.dims) == count and bool(bias.dims) and bias.dims[-1] == count


def groups_of(node: onnx.NodeProto) -> int:
    """Groups of a Conv."""
    return int(next((helper.get_attribute_value(a) for a in node.attribute if a.name == "group"), 1))


def biases_of(layer: Layer, index: GraphIndex) -> list[str]:
    """What a layer adds: input 2 of a Conv or Gemm, the constant of the Add behind a MatMul."""
    graph = index.graph.node
    if layer.op_type in ("Conv", "Gemm"):
        inputs = graph[layer.node].input
        return [inputs[2]] if len(inputs) > 2 and inputs[2] else []
    adds = (graph[i] for i in layer.tail if graph[i].op_type == "Add")
    return [name for add in adds for name in add.input if name in index.initializers]
