"""Ranges and weights to scales and zero points: pure, element-wise float32 arithmetic.

As ONNX's QuantizeLinear: q = clip(round(x / scale) + zero_point), ties to even; x ≈ (q - zero_point) · scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TINY = np.float32(2.0**-64)
"""No scale is smaller, so that a product of two is a normal float32 number."""

SOFTMAX = np.float32(2.0**-8)
"""Scale of an integer Softmax's output. ONNX Runtime's QLinearSoftmax (1.31) computes (e·⌊1/scale⌋ + Σe/2) / Σe in
uint32, the exponentials e up to min(2²³, 2³²/n) for n values: a smaller scale overflows for some n and answers noise,
one whose inverse is no integer is rounded to it."""

_INT32_MAX = 2**31 - 1
_HALF_A_STEP = 0.499  # a little less, against a tie that rounds the wrong way


@dataclass(frozen=True, slots=True)
class QuantizedWeight:
    """A weight on integers.

    Attributes:
        values: int8 or uint8, the weight's shape.
        scale: float32, shape [] (per tensor) or [channels].
        zero_point: Dtype of `values`, shape of `scale`.
        axis: Axis of the channels, None per tensor.
        block: Of a matrix, inputs that share a scale: scales and zero points are [channels, blocks] then. 0 for all.
    """

    values: np.ndarray
    scale: np.ndarray
    zero_point: np.ndarray
    axis: int | None
    block: int = 0


def activation(low: float, high: float, *, symmetric: bool, dtype: str) -> tuple[np.float32, int]:
    """Scale and zero point of an activation.

    Asymmetric: the whole of [low, high] on the 256 steps, zero exactly representable (Jacob et al. 2018, section 3).
    Symmetric: [-m, m] with m = max(-low, high) on 255 steps, zero point 128 (uint8) or 0 (int8); a uint8 tensor that is
    never negative keeps zero point 0 and all 255 steps, so that a Relu before it is redundant. Likewise for 16 bits.

    Args:
        low: Lower end, ≤ 0.
        high: Upper end, ≥ 0.
        symmetric: Whether the zero point is fixed.
        dtype: `uint8`, `int8`, `uint16` or `int16`.
    """
    lower, upper = min(float(low), 0.0), max(float(high), 0.0)
    limits = np.iinfo(dtype)
    least, steps = int(limits.min), int(limits.max) - int(limits.min)
    if symmetric:
        if lower == 0 and least == 0:
            return max(np.float32(upper / steps), TINY), 0
        return max(np.float32(max(-lower, upper) / (steps // 2)), TINY), least + (steps + 1) // 2
    step = max((upper - lower) / steps, float(TINY))
    # From the step before it is rounded to float32: [-1, 1] is a tie, which must fall on the even side.
    return np.float32(step), least + int(np.clip(np.rint(-lower / step), 0, steps))


def inside_clip(scale: np.float32, zero_point: int, low: float | None, high: float | None) -> np.float32:
    """The scale, lowered where needed, at which quantization saturates before a Clip [low, high] would act.

    ONNX Runtime drops a Relu or Clip between a kernel and its Q only if the Q's integers end within it, to half a
    step; a Clip that stays keeps the kernel in float. An asymmetric range within the Clip needs next to nothing.

    Args:
        scale: Scale of a uint8 tensor behind a Clip.
        zero_point: Its zero point.
        low: The Clip's minimum, None for none.
        high: The Clip's maximum, None for none.
    """
    bounds = [float(scale)]
    if low is not None and zero_point > 0:
        bounds.append(-low / (zero_point - _HALF_A_STEP))
    if high is not None and zero_point < 255:
        bounds.append(high / (255 - zero_point - _HALF_A_STEP))
    return max(np.float32(min(bounds)), TINY)


def weight(
    values: np.ndarray,
    *,
    axis: int | None,
    symmetric: bool,
    bits: int = 8,
    unsigned: bool = False,
    least: np.ndarray | None = None,
    part: np.ndarray | None = None,
) -> QuantizedWeight:
    """Quantize a weight.

    Symmetric: scale = max|w| / (2^(bits-1) - 1), zero point 0 (128 for uint8). Asymmetric: [min(w, 0), max(w, 0)] on
    2^bits - 1 steps. A channel of zeros gets the scale 1.

    Args:
        values: float32, finite.
        axis: Axis with a scale per index, None for one scale.
        symmetric: Whether the zero point is fixed.
        bits: 8, or 7 where 8-bit products would saturate.
        unsigned: uint8 instead of int8 (ONNX Runtime wants it for the left operand of a MatMul).
        least: Scales not to go below, shape of the scale.
        part: Of the range that is kept, shape of the scale; what lies outside saturates. None for all of it.
    """
    array = np.asarray(values, dtype=np.float32)
    others = None if axis is None else tuple(i for i in range(array.ndim) if i != axis)
    lower = np.minimum(array.min(axis=others, initial=0.0), np.float32(0)).astype(np.float32)
    upper = np.maximum(array.max(axis=others, initial=0.0), np.float32(0)).astype(np.float32)
    if part is not None:
        lower, upper = np.asarray(lower * part, np.float32), np.asarray(upper * part, np.float32)
    half = 2 ** (bits - 1)
    if symmetric:
        low, high = 1 - half, half - 1
        scale = np.asarray(np.maximum(-lower, upper) / np.float32(high), np.float32)
    else:
        low, high = -half, half - 1
        steps = np.float32(high - low)
        scale = np.asarray(upper / steps - lower / steps, np.float32)
    zero = np.maximum(-lower, upper) == 0
    scale = np.where(zero, np.float32(1), np.maximum(scale, TINY)).astype(np.float32)
    if least is not None:
        scale = np.maximum(scale, least).astype(np.float32)
    zero_point = np.zeros_like(scale) if symmetric else np.clip(np.rint(np.float32(low) - lower / scale), low, high)
    if axis is None:
        by_scale, by_zero = scale, zero_point
    else:
        shape = [1] * array.ndim
        shape[axis] = -1
        by_scale, by_zero = scale.reshape(shape), zero_point.reshape(shape)
    steps_of = np.asarray(array / by_scale)
    np.rint(steps_of, out=steps_of)
    steps_of += by_zero
    np.clip(steps_of, low, high, out=steps_of)
    if unsigned:
        return QuantizedWeight(
            (steps_of + np.float32(128)).astype(np.uint8), scale, (zero_point + 128).astype(np.uint8), axis
        )
    return QuantizedWeight(steps_of.astype(np.int8), scale, zero_point.astype(np.int8), axis)


def bias(values: np.ndarray, activation_scale: np.float32, weight_scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An int32 bias at the scale of the accumulator: activation scale × weight scale.

    Args:
        values: float32, shape [channels].
        activation_scale: Of the layer's input.
        weight_scale: float32, shape [] or [channels].

    Returns:
        int32 values, shape [channels], and their float32 scale, the shape of `weight_scale`.
    """
    scale = np.asarray(activation_scale * weight_scale, np.float32)
    steps = np.rint(np.asarray(values, np.float64) / scale.astype(np.float64))
    return np.clip(steps, -_INT32_MAX, _INT32_MAX).astype(np.int32), scale


def with_room_for_bias(
    quantized: QuantizedWeight,
    weight_values: np.ndarray,
    bias_values: np.ndarray,
    activation_scale: np.float32,
    *,
    symmetric: bool,
    bits: int = 8,
) -> QuantizedWeight:
    """The quantized weight, with larger scales in the channels whose int32 bias would not fit.

    Such channels are all but dead: their weights are tiny beside their bias. A bias near the end of int32 would wrap
    around when the products are added, so it gets a quarter of the range.

    Args:
        quantized: What `weight` made of `weight_values`.
        weight_values: float32.
        bias_values: float32, shape [channels].
        activation_scale: Of the layer's input.
        symmetric: As for `weight`.
        bits: As for `weight`.
    """
    fits = bias_fits(bias_values, activation_scale, quantized.scale)
    if fits.all():
        return quantized
    needed = np.abs(np.asarray(bias_values, np.float64)) / (float(activation_scale) * (_INT32_MAX / 4))
    if quantized.axis is None:
        return weight(
            weight_values, axis=None, symmetric=symmetric, bits=bits, least=np.asarray(needed.max(), np.float32)
        )
    few = np.flatnonzero(~fits)
    part = weight(
        np.take(weight_values, few, axis=quantized.axis),
        axis=quantized.axis,
        symmetric=symmetric,
        bits=bits,
        least=needed[few].astype(np.float32),
    )
    values, scale, zero_point = quantized.values.copy(), quantized.scale.copy(), quantized.zero_point.copy()
    np.moveaxis(values, quantized.axis, 0)[few] = np.moveaxis(part.values, quantized.axis, 0)
    scale[few], zero_point[few] = part.scale, part.zero_point
    return QuantizedWeight(values, scale, zero_point, quantized.axis)


def bias_fits(values: np.ndarray, activation_scale: np.float32, weight_scale: np.ndarray) -> np.ndarray:
    """Per channel: whether an int32 bias stays below half of int32's range, leaving the other half to the products."""
    scale = np.asarray(activation_scale * weight_scale, np.float64)
    fits: np.ndarray = np.abs(np.asarray(values, np.float64)) < scale * (_INT32_MAX / 2)
    return fits


def dequantize(quantized: QuantizedWeight) -> np.ndarray:
    """The float32 weight that the integers stand for, rounded as DequantizeLinear does."""
    scale, zero_point = quantized.scale, quantized.zero_point.astype(np.float32)
    if quantized.block and quantized.axis is not None:
        size = quantized.values.shape[1 - quantized.axis]
        scale, zero_point = (
            np.moveaxis(np.repeat(each, quantized.block, axis=1)[:, :size], 0, quantized.axis)
            for each in (scale, zero_point)
        )
    elif quantized.axis is not None:
        shape = [1] * quantized.values.ndim
        shape[quantized.axis] = -1
        scale, zero_point = scale.reshape(shape), zero_point.reshape(shape)
    result: np.ndarray = (quantized.values.astype(np.float32) - zero_point) * scale
    return result
