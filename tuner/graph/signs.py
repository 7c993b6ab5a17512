"""Which tensors are never negative, as far as a graph alone tells."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from .model import Model
from .tensors import data_of

_ALWAYS = ("Relu", "Sigmoid", "HardSigmoid", "Softmax", "Abs", "Exp", "Sqrt", "ReduceL1", "ReduceL2", "Softplus")
_OF_FIRST = (
    "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Reshape", "Flatten", "Transpose", "Squeeze",
    "Unsqueeze", "Slice", "Split", "Gather", "Expand", "Identity", "Dropout", "ReduceMean", "ReduceMax", "ReduceMin",
)  # fmt: skip
_OF_ALL = ("Add", "Mul", "Concat", "Max", "Min", "Sum", "Mean")


def nonnegative(model: Model) -> frozenset[str]:
    """Tensors that an operator's definition, and the signs of what it reads, keep from ever being negative."""
    constants = {tensor.name: tensor for tensor in model.proto.graph.initializer}
    found: set[str] = set()

    def positive(name: str) -> bool:
        if name not in constants:
            return name in found
        value = _value(constants[name], model.weights)
        return value.dtype.kind == "f" and bool(value.size) and bool(value.min() >= 0)

    for node in model.proto.graph.node:
        if node.domain not in ("", "ai.onnx"):
            continue
        if (
            node.op_type in _ALWAYS
            or (node.op_type in _OF_FIRST and positive(node.input[0]))
            or (node.op_type in _OF_ALL and all(positive(name) for name in node.input))
            or (node.op_type == "Clip" and any(positive(name) for name in node.input[:2] if name))
        ):
            found.update(name for name in node.output if name)
    return frozenset(found)


def _value(tensor: onnx.TensorProto, weights: Mapping[str, np.ndarray]) -> np.ndarray:
    return data_of(tensor, weights)
