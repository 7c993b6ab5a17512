"""A recipe's two halves: only the weights rounded, or only the activations. To tell which of them costs accuracy."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
from onnx import numpy_helper

from ..graph.order import put_nodes
from ..graph.tensors import is_stub
from .candidate import Candidate

_ROUNDED = re.compile(r"^(.+)/rounded(None|-?\d+)_*$", re.DOTALL)


def weights_only(simulated: Candidate) -> Candidate:
    """The candidate without its activations' Q/DQ pairs.

    Args:
        simulated: As `Builder.build(recipe, simulate=True)` makes it.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(simulated.proto)
    quantizers = {node.output[0]: node for node in proto.graph.node if node.op_type == "QuantizeLinear"}
    for node in proto.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in quantizers:
            source = quantizers[node.input[0]].input[0]
            name, output = node.name, node.output[0]
            node.Clear()
            node.CopyFrom(onnx.NodeProto(op_type="Identity", input=[source], output=[output], name=name))
    put_nodes(proto.graph, [node for node in proto.graph.node if node.op_type != "QuantizeLinear"])
    return replace(simulated, proto=proto)


def activations_only(simulated: Candidate, value: Callable[[str], np.ndarray]) -> Candidate:
    """The candidate with its float weights back.

    Args:
        simulated: As `Builder.build(recipe, simulate=True)` makes it.
        value: Data of a constant of the float model, by name.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(simulated.proto)
    weights = dict(simulated.weights)
    for tensor in proto.graph.initializer:
        rounded = _ROUNDED.match(tensor.name)
        if rounded is None:
            continue
        original = np.asarray(value(rounded.group(1)), np.float32)
        if is_stub(tensor):
            weights[tensor.name] = original
        else:
            tensor.CopyFrom(numpy_helper.from_array(original, tensor.name))
    return replace(simulated, proto=proto, weights=weights)
