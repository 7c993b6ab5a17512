"""Scaled channels between float operators and integers: in the scales of Q and DQ instead of a Mul.

QuantizeLinear takes a scale per channel, whatever the DequantizeLinear behind it has: round(x·f/Δ) is that of the scale
Δ/f. So the channels that an integer Conv reads, or writes for a float operator, are scaled for nothing. Along the last
axis ONNX Runtime's kernel goes element by element, which costs more than the Mul; there that stays.

It stays too where ONNX Runtime would fuse what lies between DQs and a Q, or move these: it takes scales per channel for
scalars there (1.31), and refuses the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ..graph.index import GraphIndex
from ..graph.rescale import Border
from . import scales
from .candidate import Quantization
from .placement import Placement
from .writer import Writer

_APART = frozenset(
    {
        *("Relu", "Clip", "HardSigmoid", "HardSwish", "Elu", "Selu", "Softplus", "Tanh", "Erf", "PRelu", "Gelu"),
        *("QuickGelu", "FastGelu", "LayerNormalization", "InstanceNormalization", "ReduceMean", "Div", "Sub", "Pow"),
        *("Sqrt", "Exp", "Conv", "ConvTranspose"),
    }
)
"""Operators that no integer kernel stands for and no Q or DQ is moved past, or whose fusion wants a scalar scale."""

FromIntegers = Callable[[str, Placement], bool]


class Borders:
    """The borders of one model.

    Args:
        index: Of its graph.
        found: Output of each added Mul → its border.
        from_integers: Whether a tensor is a dequantized one, see `Guards`.
    """

    def __init__(self, index: GraphIndex, found: Mapping[str, Border], from_integers: FromIntegers) -> None:
        self._index = index
        self._found = {index.producer[tensor]: (tensor, border) for tensor, border in found.items()}
        self._by_output = found
        self._from_integers = from_integers

    def folded(self, placement: Placement) -> dict[int, Border]:
        """Nodes of the Muls that a placement's Q or DQ can stand for → their borders."""
        found = {}
        for i, (tensor, border) in self._found.items():
            fits = self._inward(tensor, border, placement) if border.inward else self._outward(border, placement)
            readers = self._index.consumers.get(tensor, ())
            if border.axis == 1 and fits and (border.inward or not any(self._between(k, placement) for k in readers)):
                found[i] = border
        return found

    def _inward(self, tensor: str, border: Border, placement: Placement) -> bool:
        if tensor not in placement.pairs or tensor in placement.wide or tensor in self._index.outputs:
            return False
        if border.source in placement.replaced or not placement.int8_nodes.issuperset(self._index.consumers[tensor]):
            return False
        producer = self._index.producer.get(border.source)
        while producer is not None and self._index.graph.node[producer].op_type in ("Relu", "Clip"):
            producer = self._index.producer.get(self._index.graph.node[producer].input[0])  # a Q makes them needless
        return producer is None or not self._between(producer, placement)

    @staticmethod
    def _outward(border: Border, placement: Placement) -> bool:
        return border.source in placement.replaced and border.source not in placement.wide_written

    def _between(self, i: int, placement: Placement) -> bool:
        """Whether all that a node reads is dequantized, and it is one that ONNX Runtime may fuse with that."""
        node = self._index.graph.node[i]
        if node.op_type in _APART:
            return False
        read = [name for name in node.input if name and name not in self._index.initializers]
        return all(self._dequantized(name, placement) for name in read)

    def _dequantized(self, tensor: str, placement: Placement) -> bool:
        border = self._by_output.get(tensor)
        if border is not None and not border.inward:
            return border.source in placement.replaced
        return self._from_integers(tensor, placement)


def quantize(writer: Writer, border: Border, made: Quantization, output: str) -> None:
    """The Q of a border's channels, behind which all have one scale."""
    _add(writer, "QuantizeLinear", border, made, border.source, output, 1.0 / border.factors.astype(np.float64))


def dequantize(writer: Writer, border: Border, made: Quantization, quantized: str, output: str) -> None:
    """The DQ of channels that had one scale."""
    _add(writer, "DequantizeLinear", border, made, quantized, output, border.factors.astype(np.float64))


def _add(
    writer: Writer, op_type: str, border: Border, made: Quantization, source: str, output: str, factors: np.ndarray
) -> None:
    each = np.maximum((float(made.scale) * factors).astype(np.float32), scales.TINY)
    zeros = np.full(len(each), made.zero_point, made.dtype)
    stem = f"{output}/border"
    inputs = [source, writer.constant(f"{stem}/scales", each), writer.constant(f"{stem}/zeros", zeros)]
    writer.add(op_type, inputs, output, axis=border.axis)
