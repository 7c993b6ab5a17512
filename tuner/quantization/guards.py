"""Keep float layers in float.

ONNX Runtime (since 1.21, at its basic level) quantizes the float weight of a Conv, ConvTranspose or Gemm by itself, per
tensor, where the input is a per-tensor DequantizeLinear and the output ends in a QuantizeLinear. It makes a Gemm of
MatMul + Add, moves Q and DQ through operators that only move values, and fuses any MatMul between two DQs. A float
layer behind an integer one would so run on integers against the recipe.

What breaks the pattern at no measurable cost: a Conv reads the same integers through a DequantizeLinear of its own that
has the scale once per channel; that is as fast as the scalar one, and not per tensor. Along the last axis it would be
slower: a Gemm gets a Max of one input before it, and so does what reads a moved DQ.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import onnx

from ..calibration.ranges import Ranges
from ..graph.index import GraphIndex
from ..graph.model import Model
from .placement import Placement
from .weights import Weights

_SELF_QUANTIZED = ("Conv", "ConvTranspose", "Gemm")
_NEUTRAL = {"Add": 0.0, "Sub": 0.0, "Mul": 1.0, "Div": 1.0}
_PROPAGATING = ("MaxPool", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Flatten", "Identity")


@dataclass(frozen=True, slots=True)
class Guard:
    """One guarded input of a float node.

    Attributes:
        node: Index of the node.
        position: Which of its inputs.
        kind: `channels`: a DQ with a scale per channel; `barrier`: a Max of one input; `bias`: this constant gets
            leading dimensions of 1, so that no Gemm is made of MatMul + Add (position is the Add's).
        count: Channels (on axis 1) for `channels`, the rank wanted for `bias`.
    """

    node: int
    position: int
    kind: Literal["channels", "barrier", "bias"]
    count: int = 0


class Guards:
    """Finds what needs a guard for any placement on one model."""

    def __init__(self, model: Model, ranges: Ranges, weights: Weights) -> None:
        self._index = GraphIndex(model.proto.graph)
        self._shapes = ranges.shapes
        self._weights = weights
        self._suspects = [
            i for i, node in enumerate(model.proto.graph.node) if node.op_type in (*_SELF_QUANTIZED, "MatMul")
        ]

    def find(self, placement: Placement) -> Iterator[Guard]:
        """The guards a placement needs, in graph order."""
        nodes = self._index.graph.node
        for i in self._suspects:
            if i in placement.int8_nodes:
                continue
            node = nodes[i]
            fed = [self.from_integers(name, placement) for name in node.input[:2]]
            if node.op_type == "MatMul":
                yield from self._matmul(i, node, fed, placement)
            elif fed[0] and self._weights.is_float(node.input[1]):
                yield self._of_input(i, node, placement)

    def _of_input(self, i: int, node: onnx.NodeProto, placement: Placement) -> Guard:
        dims = self._weights.dims(node.input[1])
        channels = 0
        if node.op_type == "Conv":
            channels = dims[1] * next((a.i for a in node.attribute if a.name == "group"), 1)
        elif node.op_type == "ConvTranspose":
            channels = dims[0]
        if channels > 1 and node.input[0] in placement.replaced:
            return Guard(i, 0, "channels", channels)
        return Guard(i, 0, "barrier")

    def _matmul(self, i: int, node: onnx.NodeProto, fed: list[bool], placement: Placement) -> Iterator[Guard]:
        if all(fed):
            yield Guard(i, 1, "barrier")
            return
        reader = self._index.sole_consumer(node.output[0])
        if not fed[0] or reader is None or self._index.graph.node[reader].op_type != "Add":
            return
        rank = len(self._shapes.get(node.input[0], ()))
        if rank in (0, 2):
            yield Guard(i, 0, "barrier")
            return
        add = self._index.graph.node[reader]
        position = 1 if add.input[0] == node.output[0] else 0
        bias = add.input[position]
        if rank > 2 and self._weights.is_float(bias) and len(self._weights.dims(bias)) == 1:
            yield Guard(reader, position, "bias", rank)

    def from_integers(self, tensor: str, placement: Placement) -> bool:
        """Whether a tensor is a dequantized one, or becomes one when ONNX Runtime moves DQs downwards."""
        nodes = self._index.graph.node
        while tensor not in placement.replaced:
            producer = self._index.producer.get(tensor)
            if producer is not None and nodes[producer].op_type == "DequantizeLinear":
                return True  # of a partly quantized model
            carried = self._carried(nodes[producer]) if producer is not None else None
            if carried is None:
                return False
            tensor = carried
        return True

    def _carried(self, node: onnx.NodeProto) -> str | None:
        """What a node hands on unchanged, as far as ONNX Runtime sees or moves DQs past it."""
        if node.op_type in _PROPAGATING:
            return str(node.input[0])
        if node.op_type not in _NEUTRAL:  # it drops an Add of zero before it looks for DQs
            return None
        for position, name in enumerate(node.input):
            commutes = node.op_type in ("Add", "Mul")
            if (position == 1 or commutes) and self._weights.is_float(name) and len(node.input) == 2:
                value = self._weights.value(name)
                if value.size == 1 and value.reshape(-1)[0] == _NEUTRAL[node.op_type]:
                    return str(node.input[1 - position])
        return None
