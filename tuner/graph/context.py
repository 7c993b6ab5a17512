"""What a look at one node of a graph needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto, numpy_helper

from .index import GraphIndex
from .shapes import TensorType


@dataclass(frozen=True)
class Context:
    """What a look at one node needs: the graph's look-ups, tensors' types, a name for each node, large constants."""

    index: GraphIndex
    types: Mapping[str, TensorType]
    names: Sequence[str]
    weights: Mapping[str, np.ndarray]

    def is_float(self, tensor: str) -> bool:
        """Whether a tensor is float32."""
        return tensor in self.types and self.types[tensor].element == TensorProto.FLOAT

    def is_constant(self, tensor: str) -> bool:
        """Whether a tensor is an initializer."""
        return tensor in self.index.initializers

    def dims(self, tensor: str) -> tuple[int, ...]:
        """Shape of an initializer."""
        return tuple(self.index.initializers[tensor].dims)

    def is_finite(self, tensor: str) -> bool:
        """Whether a float initializer holds numbers only, no infinity and no NaN."""
        value = self.weights.get(tensor)
        return bool(
            np.isfinite(numpy_helper.to_array(self.index.initializers[tensor]) if value is None else value).all()
        )

    def dequantized(self, tensor: str) -> bool:
        """Whether a DequantizeLinear writes a tensor."""
        writer = self.index.producer.get(tensor)
        return writer is not None and self.index.graph.node[writer].op_type == "DequantizeLinear"
