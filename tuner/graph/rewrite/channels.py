"""Channels in whole blocks: weights filled up with zeros, so that ONNX Runtime need not leave its blocked layout.

In float its Convs work on blocks of 16 channels on x86 with AVX512 and on ARM (8 with AVX2), whatever the number. But a
tensor of 8, 24 or 88 channels has to be brought back to the plain layout for every pooling, and an Add or Mul takes two
reshapes: in small networks a fifth of the time.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from ..draft import Draft
from ..index import subgraphs
from .patch import Change, Patch, attribute, standard

BLOCK = 16
_MOST = 8
"""A tensor grows to this multiple at most."""

_UNARY = frozenset(
    {
        *("Relu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish", "LeakyRelu", "Tanh", "Elu", "Softplus", "Neg"),
        *("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Gelu", "FastGelu", "QuickGelu"),
    }
)
_BINARY = frozenset(("Add", "Sub", "Mul"))


def channels(draft: Draft) -> Change:
    """Zeros in weights and biases where a Conv's channels are no multiple of 16.

    Requires: everything between the Convs that write a tensor's channels and those that read them works on each channel
    alone; weights that nobody else reads. The new channels then hold constants that meet weights of zero.
    Ensures: the same values to float rounding; outputs keep their shapes.
    """
    patch = Patch(draft)
    spans = _Spans(patch)
    grown: dict[str, int] = {}
    for i in patch.of_type("Conv"):
        grown |= spans.growth(patch.node(i).output[0])
    if not grown:
        return Change()
    for i in patch.of_type("Conv"):
        node = patch.touch(i)
        _fill(patch, node, grown.get(spans.root(node.input[0])), grown.get(spans.root(node.output[0])))
    _forget_shapes(draft.proto.graph, {tensor for tensor in spans.tensors() if spans.root(tensor) in grown})
    patch.sites = len(grown)
    return patch.apply()


class _Spans:
    """Which tensors have the same channels, and which of these sets may grow."""

    def __init__(self, patch: Patch) -> None:
        self._patch = patch
        self._parent: dict[str, str] = {}
        self._fixed: set[str] = {value.name for value in (*patch.graph.input, *patch.graph.output)}
        for i, node in enumerate(patch.graph.node):
            self._see(i, node)

    def tensors(self) -> list[str]:
        """All tensors seen."""
        return list(self._parent)

    def root(self, tensor: str) -> str:
        """The name of a tensor's set."""
        self._parent.setdefault(tensor, tensor)
        while self._parent[tensor] != tensor:
            self._parent[tensor] = self._parent[self._parent[tensor]]
            tensor = self._parent[tensor]
        return tensor

    def growth(self, tensor: str) -> dict[str, int]:
        """The set of what a Conv writes → its new number of channels, nothing where it may not or need not grow."""
        root = self.root(tensor)
        fixed = {self.root(name) for name in self._fixed}
        writer = self._patch.writer(tensor)
        assert writer is not None
        count = (
            int(self._patch.index.initializers[self._patch.node(writer).input[1]].dims[0]) if root not in fixed else 0
        )
        wanted = -(-count // BLOCK) * BLOCK
        return {root: wanted} if count and count < wanted <= _MOST * count else {}

    def _see(self, i: int, node: onnx.NodeProto) -> None:
        data = [name for name in node.input if name and name not in self._patch.index.initializers]
        if node.op_type == "Conv" and standard(node) and self._conv(node):
            return
        if node.op_type in _UNARY and self._unary(node, data):
            return
        if node.op_type in _BINARY and standard(node) and self._binary(node, data):
            return
        self._fixed.update(data, node.output)
        for body in subgraphs(node):
            self._fixed.update(name for inner in body.node for name in inner.input)
            self._fixed.update(value.name for value in body.output)

    def _conv(self, node: onnx.NodeProto) -> bool:
        """A Conv with constants of its own: a border, or of one piece where each channel has its own filter."""
        constants = [self._patch.index.initializers.get(name) for name in node.input[1:] if name]
        if any(c is None or c.data_type != TensorProto.FLOAT for c in constants):
            return False
        if any(len(self._patch.index.consumers[name]) != 1 for name in node.input[1:] if name):
            return False
        group, dims = attribute(node, "group", 1), self._patch.index.initializers[node.input[1]].dims
        self.root(node.input[0])
        self.root(node.output[0])
        if group == 1:
            return True
        if group == dims[0] and dims[1] == 1:
            self._join(node.input[0], node.output[0])
            return True
        return False

    def _unary(self, node: onnx.NodeProto, data: list[str]) -> bool:
        parameters = [name for name in node.input if name and name not in data]
        outputs = [name for name in node.output if name]
        if len(data) != 1 or len(outputs) != 1 or any(self._patch.scalar(name) is None for name in parameters):
            return False
        self._join(data[0], outputs[0])
        return True

    def _binary(self, node: onnx.NodeProto, data: list[str]) -> bool:
        if len(data) == 1:
            scalars = [name for name in node.input if name != data[0]]
            if len(scalars) != 1 or self._patch.scalar(scalars[0]) is None:
                return False
            self._join(data[0], node.output[0])
            return self._patch.broadcasts(scalars[0], data[0])
        shapes = [self._patch.shape(name) or () for name in data]
        if any(len(shape) < 3 for shape in shapes) or len({shape[1] for shape in shapes}) != 1:
            return False
        if len({len(shape) for shape in shapes}) != 1 or not isinstance(shapes[0][1], int):
            return False
        for name in data:
            self._join(name, node.output[0])
        return True

    def _join(self, one: str, other: str) -> None:
        self._parent[self.root(one)] = self.root(other)


def _fill(patch: Patch, node: onnx.NodeProto, read: int | None, written: int | None) -> None:
    """Zeros for the new channels a Conv reads and writes."""
    if read is None and written is None:
        return
    tensor = patch.index.initializers[node.input[1]]
    weight = patch.draft.value(tensor)
    depthwise = attribute(node, "group", 1) > 1
    rows = (written or weight.shape[0]) - weight.shape[0]
    columns = 0 if depthwise else (read or weight.shape[1]) - weight.shape[1]
    _put(patch, tensor, np.pad(weight, [(0, rows), (0, columns)] + [(0, 0)] * (weight.ndim - 2)))
    if len(node.input) > 2 and node.input[2]:
        bias = patch.index.initializers[node.input[2]]
        _put(patch, bias, np.pad(patch.draft.value(bias), (0, rows)))
    if depthwise and written:
        kept = [a for a in node.attribute if a.name != "group"]
        fresh = onnx.NodeProto(attribute=[*kept, helper.make_attribute("group", written)])
        del node.attribute[:]
        node.attribute.MergeFrom(fresh.attribute)


def _put(patch: Patch, tensor: onnx.TensorProto, array: np.ndarray) -> None:
    """Other data, of another shape, for a constant; its size may now call for a stub."""
    name = tensor.name
    patch.draft.drop_initializers([name])
    patch.draft.add_constant(name, np.ascontiguousarray(array, np.float32))
    patch.index.initializers[name] = patch.graph.initializer[-1]


def _forget_shapes(graph: onnx.GraphProto, tensors: set[str]) -> None:
    for i in range(len(graph.value_info) - 1, -1, -1):
        if graph.value_info[i].name in tensors:
            del graph.value_info[i]
