"""Weights on 4 bits, a scale for each block of inputs, and their form in ONNX Runtime's MatMulNBits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .scales import TINY, QuantizedWeight

BITS = 4
BLOCK = 32
"""Inputs that share a scale: of the sizes ONNX Runtime takes (16, 32, 64, …) its own quantizer's usual one."""
LOW, HIGH = -8, 7

_MIDDLE = 8
_CHUNK = 1 << 20
_PARTS = np.linspace(0.5, 0.975, 20, dtype=np.float32)[::-1]


@dataclass(frozen=True, slots=True)
class Packed:
    """A weight as MatMulNBits takes it.

    Attributes:
        values: uint8 [N, blocks, block / 2], two integers a byte, the even one in the lower half.
        scales: float32 [N · blocks].
        zero_points: uint8 [N · ⌈blocks / 2⌉], two a byte likewise; None where all of them are 8.
    """

    values: np.ndarray
    scales: np.ndarray
    zero_points: np.ndarray | None


def quantize(
    values: np.ndarray, *, axis: int, symmetric: bool, clipped: bool = False, block: int = BLOCK
) -> QuantizedWeight:
    """Quantize a matrix in blocks of its inputs.

    Symmetric: the largest magnitude of a block, with its sign, falls on -8, so that all 16 steps count where it is
    (values as large of the other sign saturate by one step); the scale may be negative. Asymmetric: [min(w, 0),
    max(w, 0)] on 15 steps. A block of zeros gets the scale 1.

    Args:
        values: float32 [K, N] or [N, K], finite.
        axis: Axis of the N outputs.
        symmetric: Whether the zero point is fixed.
        clipped: Whether of 20 smaller ranges, down to half, the one of least squared error is taken (Nagel et al. 2021,
            "A White Paper on Neural Network Quantization", section 3.1).
        block: Inputs of a block.

    Returns:
        Integers from -8 to 7, of the weight's shape; scales and zero points [N, blocks].
    """
    matrix = np.ascontiguousarray(np.moveaxis(np.asarray(values, np.float32), axis, 0))
    outputs, size = matrix.shape
    count = -(-size // block)
    padded = np.pad(matrix, ((0, 0), (0, count * block - size))).reshape(outputs * count, block)
    found = np.empty(padded.shape, np.int8)
    scale = np.empty(len(padded), np.float32)
    zero_point = np.empty(len(padded), np.int8)
    step = max(1, _CHUNK // block)
    for begin in range(0, len(padded), step):
        part = slice(begin, begin + step)
        found[part], scale[part], zero_point[part] = _quantized(padded[part], symmetric, clipped)
    integers = found.reshape(outputs, count * block)[:, :size]
    return QuantizedWeight(
        np.ascontiguousarray(np.moveaxis(integers, 0, axis)),
        scale.reshape(outputs, count),
        zero_point.reshape(outputs, count),
        axis,
        block,
    )


def pack(quantized: QuantizedWeight) -> Packed:
    """The weight as MatMulNBits takes it; what fills up the last block is zero."""
    assert quantized.axis is not None
    rows = np.moveaxis(quantized.values, quantized.axis, 0)
    outputs, size = rows.shape
    count = quantized.scale.shape[1]
    filled = np.repeat(quantized.zero_point, quantized.block, axis=1)
    filled[:, :size] = rows
    values = _nibbles(filled).reshape(outputs, count, quantized.block // 2)
    zeros = None
    if quantized.zero_point.any():
        zeros = _nibbles(np.pad(quantized.zero_point, ((0, 0), (0, count % 2)))).reshape(-1)
    return Packed(values, quantized.scale.reshape(-1), zeros)


def spread(by_block: np.ndarray, block: int, size: int) -> np.ndarray:
    """A value per block [N, blocks] as one per input, [N, size]."""
    return np.repeat(by_block, block, axis=1)[:, :size]


def _nibbles(integers: np.ndarray) -> np.ndarray:
    """int8 [N, 2n] from -8 to 7 as uint8 [N, n], moved by 8, the first of two in the lower half."""
    moved = (integers + np.int8(_MIDDLE)).astype(np.uint8)
    packed: np.ndarray = moved[:, 0::2] | (moved[:, 1::2] << BITS)
    return packed


def unpack(packed: np.ndarray) -> np.ndarray:
    """uint8 [N, n], two integers a byte, as int8 [N, 2n] from -8 to 7."""
    pairs = np.stack([packed & 15, packed >> BITS], axis=-1)
    return pairs.reshape(len(packed), -1).astype(np.int8) - np.int8(_MIDDLE)


def _quantized(rows: np.ndarray, symmetric: bool, clipped: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Integers, scale and zero point of each row, a block."""
    low = np.minimum(rows.min(axis=1), np.float32(0))
    high = np.maximum(rows.max(axis=1), np.float32(0))
    scale, zero_point = _grid(low, high, symmetric)
    best = _rounded(rows, scale, zero_point)
    if not clipped:
        return best, scale, zero_point
    least = _error(rows, best, scale, zero_point)
    for part in _PARTS:
        tried_scale, tried_zero = _grid(low * part, high * part, symmetric)
        tried = _rounded(rows, tried_scale, tried_zero)
        error = _error(rows, tried, tried_scale, tried_zero)
        better = error < least
        best[better], scale[better], zero_point[better] = tried[better], tried_scale[better], tried_zero[better]
        least[better] = error[better]
    return best, scale, zero_point


def _grid(low: np.ndarray, high: np.ndarray, symmetric: bool) -> tuple[np.ndarray, np.ndarray]:
    if symmetric:
        extreme = np.where(-low > high, low, high)
        scale = extreme / np.float32(LOW)
        scale = np.where(extreme == 0, np.float32(1), np.copysign(np.maximum(np.abs(scale), TINY), scale))
        return scale.astype(np.float32), np.zeros(len(low), np.int8)
    steps = np.float32(HIGH - LOW)
    scale = np.where(high == low, np.float32(1), np.maximum(high / steps - low / steps, TINY)).astype(np.float32)
    return scale, np.clip(np.rint(np.float32(LOW) - low / scale), LOW, HIGH).astype(np.int8)


def _rounded(rows: np.ndarray, scale: np.ndarray, zero_point: np.ndarray) -> np.ndarray:
    steps = np.rint(rows / scale[:, np.newaxis])
    steps += zero_point[:, np.newaxis]
    rounded: np.ndarray = np.clip(steps, LOW, HIGH).astype(np.int8)
    return rounded


def _error(rows: np.ndarray, integers: np.ndarray, scale: np.ndarray, zero_point: np.ndarray) -> np.ndarray:
    """Squared error of each row."""
    values = (integers - zero_point[:, np.newaxis]).astype(np.float32) * scale[:, np.newaxis]
    error: np.ndarray = np.square(values - rows).sum(axis=1)
    return error
