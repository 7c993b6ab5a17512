"""Weight ranges of least squared error: a few outliers clipped for a finer step."""

from __future__ import annotations

import numpy as np

_COARSE = np.linspace(0.2, 1.0, 33)
_FINE = np.linspace(-0.02, 0.02, 9)
_CHUNK = 1 << 20


def least_error(values: np.ndarray, *, axis: int | None, symmetric: bool, bits: int = 8) -> np.ndarray:
    """The part of the min-max range at which quantization's squared error is least.

    One search per scale: 33 parts from 0.2 to 1, then 9 around the best, as MSE range estimators do (Nagel et al.
    2021, "A White Paper on Neural Network Quantization", section 3.1). Of equal ones the widest; the whole range
    where nothing is better.

    Args:
        values: float32, finite.
        axis: Axis with a scale per index, None for one scale.
        symmetric: Whether the zero point is fixed.
        bits: As for `scales.weight`.

    Returns:
        float32, shape [] or [channels], in (0, 1].
    """
    rows = values.reshape(1, -1) if axis is None else np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)
    found = np.empty(len(rows), np.float32)
    count = max(1, _CHUNK // max(1, rows.shape[1]))
    for begin in range(0, len(rows), count):
        found[begin : begin + count] = _search(np.ascontiguousarray(rows[begin : begin + count]), symmetric, bits)
    return found.reshape(()) if axis is None else found


def _search(rows: np.ndarray, symmetric: bool, bits: int) -> np.ndarray:
    low = np.minimum(rows.min(axis=1, initial=0.0), np.float32(0))[:, np.newaxis]
    high = np.maximum(rows.max(axis=1, initial=0.0), np.float32(0))[:, np.newaxis]
    if symmetric:
        high = np.maximum(-low, high)
        low = -high
    best = np.ones((len(rows), 1), np.float32)
    least = _error(rows, low, high, symmetric, bits)
    for parts in (_COARSE[-2::-1], _FINE):
        centre = best.copy() if parts is _FINE else np.zeros_like(best)
        for part in parts:
            tried = np.clip(centre + np.float32(part), np.float32(0.01), np.float32(1))
            error = _error(rows, low * tried, high * tried, symmetric, bits)
            better = error < least
            best[better], least[better] = tried[better], error[better]
    return best[:, 0]


def _error(rows: np.ndarray, low: np.ndarray, high: np.ndarray, symmetric: bool, bits: int) -> np.ndarray:
    """Mean squared error of each row on the grid of a range, [rows, 1]."""
    half = 2 ** (bits - 1)
    least, most = (1 - half, half - 1) if symmetric else (-half, half - 1)
    step = (high - low) / np.float32(most - least)
    step = np.where(step > 0, step, np.float32(1))
    zero = np.float32(0) if symmetric else np.clip(np.rint(least - low / step), least, most)
    steps = rows / step
    np.rint(steps, out=steps)
    np.clip(steps, least - zero, most - zero, out=steps)
    steps *= step
    steps -= rows
    np.square(steps, out=steps)
    error: np.ndarray = steps.mean(axis=1, keepdims=True)
    return error
