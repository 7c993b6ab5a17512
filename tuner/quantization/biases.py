"""Bias correction: what rounded weights shift a layer's mean output by, taken back by its bias."""

from __future__ import annotations

import numpy as np

_BITS = 61


def shift(rounded: np.ndarray, weight: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """The change of the mean output, ΔW·E[x], per output channel.

    Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction", section 4.2: with
    ΔW = W̃ − W the corrected bias is b − ΔW·E[x]. The same on every machine: products are rounded to a common step and
    summed as integers, so that the order of the sum does not matter.

    Args:
        rounded: float32 [groups, outputs, K], at the values that the integers stand for.
        weight: float32 [groups, outputs, K].
        mean: float64 [groups, K], of the layer's rows.

    Returns:
        float64 [groups · outputs].
    """
    products = (rounded.astype(np.float64) - weight.astype(np.float64)) * mean[:, np.newaxis, :]
    return _exact_sum(products).reshape(-1)


def _exact_sum(values: np.ndarray) -> np.ndarray:
    """Sum over the last axis in integers, at a step 2^-50 or so of the largest value."""
    size = values.shape[-1]
    _, exponent = np.frexp(np.abs(values).max(axis=-1, initial=0.0, keepdims=True))
    room = _BITS - int(np.ceil(np.log2(max(size, 1)))) - exponent
    sums = np.rint(np.ldexp(values, room)).astype(np.int64).sum(axis=-1)
    found: np.ndarray = np.ldexp(sums.astype(np.float64), -room[..., 0])
    return found
