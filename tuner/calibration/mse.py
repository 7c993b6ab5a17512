"""The range of least mean squared quantization error."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .histogram import MANTISSA_BITS, OCTAVES, Bins

_DEEPEST = 10  # octaves below the full range that are searched
_LEVELS = 255  # steps of an 8-bit grid


def mse(bins: Bins, symmetric: bool) -> tuple[float, float]:
    """The range whose 8-bit grid rounds and clips the values with the least squared error.

    The grids are those that will be used: 255 steps over (low, high) with the zero point rounded; 254 over
    (-high, high) if symmetric; 255 over (0, high) for a tensor never negative (and mirrored). The error of a grid is
    exact for the values at the middle of their bins (see `Errors`). The ends are searched on a geometric grid from the
    full range down to 2⁻¹⁰ of it, then refined around the best to about 0.5 %.
    """
    low, high = min(float(bins.lower[0]), 0.0), max(float(bins.upper[-1]), 0.0)
    errors = Errors(bins)
    if symmetric and low < 0:
        top = max(-low, high)
        best = _search_one(lambda ends: errors.of(-ends, ends, _LEVELS - 1), top)
        return -best, best
    if low == 0:
        return 0.0, _search_one(lambda ends: errors.of(0.0 * ends, ends), high)
    if high == 0:
        return -_search_one(lambda ends: errors.of(-ends, 0.0 * ends), -low), 0.0
    return _search_two(errors, low, high)


def _search_one(error: Callable[[np.ndarray], np.ndarray], full: float) -> float:
    exponents = np.arange(0, 8 * _DEEPEST + 1) / 8
    width = 1 / 8
    while True:
        best = float(exponents[np.argmin(error(full * 2.0**-exponents))])
        if width < 0.01:
            return float(full * 2.0**-best)
        exponents = best + width * np.arange(-8, 9) / 8
        exponents = exponents[exponents >= 0]
        width /= 8


def _search_two(errors: Errors, low: float, high: float) -> tuple[float, float]:
    a = b = np.arange(0, _DEEPEST + 1, dtype=np.float64)
    width = 1.0
    while True:
        below, above = (grid.reshape(-1) for grid in np.meshgrid(a, b, indexing="ij"))
        best = int(np.argmin(errors.of(low * 2.0**-below, high * 2.0**-above)))
        if width < 0.02:
            return low * 2.0 ** -float(below[best]), high * 2.0 ** -float(above[best])
        steps = width * np.arange(-4, 5) / 4
        a, b = below[best] + steps, above[best] + steps
        a, b = a[a >= 0], b[b >= 0]
        width /= 4


class Errors:
    """Squared quantization errors of a tensor under many grids at once.

    With grid points q₀ < … < qₙ a step s apart and boundaries b between them, Σ (v − q(v))² =
    Σv² − 2 qₙ Σv + qₙ² N + 2 s Σ_b Σ_{v<b} (v − b) (summation by parts of the per-level moments), so that a grid costs
    one look-up of the counts' and values' running sums at each boundary. A value at a boundary contributes nothing,
    which makes the look-up's rounding to whole bins harmless.
    """

    def __init__(self, bins: Bins) -> None:
        values = bins.middle
        values[0], values[-1] = bins.lower[0], bins.upper[-1]  # a single value, more often than not
        weights = bins.counts / bins.counts.sum()
        top = np.float32(max(-values[0], values[-1]))
        self._base = np.int32(max((int(top.view(np.int32)) >> 23) - OCTAVES + 1, 1) << MANTISSA_BITS)
        self._negative = OCTAVES << MANTISSA_BITS if values[0] < 0 else 0
        size = self._negative + 1 + (OCTAVES << MANTISSA_BITS)
        slots = self._slots(values)
        self._mass = np.zeros(size + 1)
        self._sum = np.zeros(size + 1)
        np.cumsum(np.bincount(slots, weights, size), out=self._mass[1:])
        np.cumsum(np.bincount(slots, weights * values, size), out=self._sum[1:])
        self._energy = float((weights * values**2).sum())  # not @: BLAS would wake its threads

    def of(self, low: np.ndarray, high: np.ndarray, levels: int = _LEVELS) -> np.ndarray:
        """Mean squared errors of the grids with `levels` steps over [low, high], each float64 of shape [n]."""
        step = (high - low) / levels
        zero = np.rint(-low / step)
        bounds = (np.arange(levels) + 0.5 - zero[:, None]) * step[:, None]
        slots = self._slots(bounds)
        inner = (np.take(self._sum, slots) - bounds * np.take(self._mass, slots)).sum(1)
        last = (levels - zero) * step
        return np.asarray(self._energy - 2 * last * self._sum[-1] + last**2 + 2 * step * inner)

    def _slots(self, values: np.ndarray) -> np.ndarray:
        """Position of each value's bin: ascending, the zero's (and all below the window) at `_negative`."""
        bits = values.astype(np.float32).view(np.int32)
        slots = (bits & 0x7FFFFFFF) >> (23 - MANTISSA_BITS)
        slots -= self._base - 1
        np.clip(slots, 0, OCTAVES << MANTISSA_BITS, out=slots)
        if self._negative:
            np.negative(slots, out=slots, where=bits < 0)
            slots += self._negative
        return slots.astype(np.intp)
