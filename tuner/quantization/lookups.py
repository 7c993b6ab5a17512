"""Activations that ONNX Runtime does not fuse on integers, arranged so that it runs them as an integer kernel it has.

A HardSigmoid is a straight line that saturates, and so is a QuantizeLinear. Its input goes through an Add of zero
(QLinearAdd: a fused multiply-add per element, two and a half times as fast as the table lookup of QLinearLeakyRelu with
slope 1, equal to the bit) to integers that saturate where the HardSigmoid does; read with another scale and zero point,
these integers are its values. HardSwish, put back as HardSigmoid and Mul, so becomes a QLinearAdd and a QLinearMul
instead of four passes in float.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from .candidate import Quantization

_STEPS = 254
_EXACT = 1e-3
_DEFAULTS = {"alpha": 0.2, "beta": 0.5}


@dataclass(frozen=True, slots=True)
class Lookup:
    """A lookup's two readings of the same integers.

    Attributes:
        written: How the argument is quantized.
        read: What the integers stand for.
    """

    written: Quantization
    read: Quantization


def hard_sigmoid(node: onnx.NodeProto) -> Lookup | None:
    """The lookup of max(0, min(1, alpha·x + beta)); None where no uint8 zero point expresses its beta.

    Integers 1 … 255 stand for 0 … 1 in steps of 1/254, so that 0, ½ and 1 are exact; 0 stands for -1/254, which
    arguments below the lower bend get.
    """
    found = {**_DEFAULTS, **{a.name: a.f for a in node.attribute}}
    alpha, beta = found["alpha"], found["beta"]
    zero = _STEPS * beta + 1.0
    if alpha <= 0.0 or abs(zero - round(zero)) > _EXACT or not 0 <= round(zero) <= 255:
        return None
    return Lookup(_uint8(1.0 / (_STEPS * alpha), round(zero)), _uint8(1.0 / _STEPS, 1))


def as_lookup(node: onnx.NodeProto, zero: str) -> None:
    """Turn a HardSigmoid node into the Add of zero that requantizes, in place.

    Args:
        zero: A dequantized 0.
    """
    node.op_type = "Add"
    node.input.append(zero)
    del node.attribute[:]


def _uint8(scale: float, zero_point: int) -> Quantization:
    return Quantization(np.asarray(scale, np.float32), np.asarray(zero_point, np.uint8), "uint8")
