"""A model while it is being loaded: what the passes work on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import numpy_helper

from .index import subgraphs
from .tensors import data_of, is_stub, put


@dataclass
class Draft:
    """A light graph, its weights beside it, and what was done so far. Passes change it in place.

    Attributes:
        proto: As `Model.proto`.
        weights: As `Model.weights`.
        notes: As `Model.notes`.
    """

    proto: onnx.ModelProto
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    _taken: set[str] = field(default_factory=set)

    @property
    def opset(self) -> int:
        """Version of the default domain."""
        return opset(self.proto)

    def value(self, tensor: onnx.TensorProto) -> np.ndarray:
        """The data of an initializer."""
        return data_of(tensor, self.weights)

    def replace_value(self, tensor: onnx.TensorProto, array: np.ndarray) -> None:
        """Give an initializer other data of the same type and shape."""
        if is_stub(tensor):
            self.weights[tensor.name] = array
        else:
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))

    def add_constant(self, name: str, array: np.ndarray) -> str:
        """A new initializer."""
        return put(self.proto.graph, self.weights, name, array)

    def drop_nodes(self, indices: Iterable[int]) -> None:
        """Remove nodes of the main graph."""
        nodes = self.proto.graph.node
        for i in sorted(set(indices), reverse=True):
            del nodes[i]

    def drop_initializers(self, names: Iterable[str]) -> None:
        """Remove constants of the main graph, data included."""
        gone = set(names)
        initializers = self.proto.graph.initializer
        for i in range(len(initializers) - 1, -1, -1):
            if initializers[i].name in gone:
                self.weights.pop(initializers[i].name, None)
                del initializers[i]

    def free_name(self, wanted: str) -> str:
        """A tensor name nothing in the model bears, the wanted one if possible. Names once seen stay taken."""
        if not self._taken:
            self._taken = tensor_names(self.proto.graph)
        name, n = wanted, 1
        while name in self._taken:
            n += 1
            name = f"{wanted}_{n}"
        self._taken.add(name)
        return name


def opset(proto: onnx.ModelProto) -> int:
    """Version of the default domain that a model imports, 0 if it does not."""
    return max((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), default=0)


def tensor_names(graph: onnx.GraphProto) -> set[str]:
    """Every tensor name of a graph and of the bodies in it."""
    names = {value.name for value in (*graph.input, *graph.output)} | {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        names.update(node.input)
        names.update(node.output)
        for body in subgraphs(node):
            names |= tensor_names(body)
    return names
