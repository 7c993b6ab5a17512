"""From a histogram to a range: minmax, percentile, entropy and mse.

All are pure functions of `Bins`. Every range holds zero, is finite and wide enough to have a scale; a symmetric one has
low = -high, except that a tensor never negative gets (0, high) under either symmetry.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from .entropy import entropy
from .histogram import Bins
from .mse import mse

_SMALLEST = 1e-30  # narrower than this the scale of an 8-bit grid nears the subnormals
_LARGEST = 2.0**126  # wider than this high - low overflows float32

Calibrator = Callable[[Bins, bool], tuple[float, float]]
"""(bins, symmetric) → (low, high)."""


def minmax(bins: Bins, symmetric: bool) -> tuple[float, float]:
    """The smallest and the largest value seen, exactly."""
    low, high = float(bins.lower[0]), float(bins.upper[-1])
    if symmetric:
        high = max(-low, high)
        low = -high
    return low, high


def percentile(bins: Bins, symmetric: bool, *, outside: int) -> tuple[float, float]:
    """The range that leaves out the `1/outside` most extreme values.

    Asymmetric: half of them on either side, each end the value with at most `count // (2 · outside)` values beyond it.
    Symmetric: of the magnitudes |x|. These are the percentiles of onnxruntime.quantization (its
    `percent_to_cut_one_side`) and of numpy with `method="inverted_cdf"`; zeros count like any other value.

    Args:
        bins: The tensor's values.
        symmetric: Whether the range shall be symmetric.
        outside: 10 000 for the percentile 99.99, and so on.

    Returns:
        (low, high), each within half a histogram bin of the exact order statistic.
    """
    count = int(bins.counts.sum())
    if symmetric:
        magnitude = np.maximum(np.abs(bins.lower), np.abs(bins.upper))
        order = np.argsort(magnitude, kind="stable")
        middle = np.abs(bins.middle)[order]
        middle[-1] = magnitude[order[-1]]
        high = _largest_but(middle, bins.counts[order], count // outside)
        return -high, high
    middle = bins.middle
    middle[0], middle[-1] = bins.lower[0], bins.upper[-1]
    beyond = count // (2 * outside)
    return -_largest_but(-middle[::-1], bins.counts[::-1], beyond), _largest_but(middle, bins.counts, beyond)


def _largest_but(values: np.ndarray, counts: np.ndarray, beyond: int) -> float:
    """The largest of the ascending `values` when the `beyond` largest, counted with `counts`, are left out."""
    from_top = np.cumsum(counts[::-1])
    position = len(values) - 1 - int(np.searchsorted(from_top, beyond, side="right"))
    return float(values[position])


CALIBRATORS: dict[str, Calibrator] = {
    "minmax": minmax,
    "percentile_99.9": partial(percentile, outside=1_000),
    "percentile_99.99": partial(percentile, outside=10_000),
    "percentile_99.999": partial(percentile, outside=100_000),
    "entropy": entropy,
    "mse": mse,
}


def calibrate(bins: Bins, calibrator: str, symmetric: bool) -> tuple[float, float]:
    """The range of a tensor: float32 values, low ≤ 0 ≤ high, finite.

    A tensor without values or with nothing but zeros (or magnitudes below 1e-30) gets (0, 1): zero stays exact, and the
    scale is neither so small that an int32 bias overflows nor so large that a late nonzero value is lost.

    Args:
        bins: The tensor's values.
        calibrator: One of `CALIBRATORS`.
        symmetric: Whether the range shall be symmetric.
    """
    if not len(bins.counts) or max(-float(bins.lower[0]), float(bins.upper[-1])) < _SMALLEST:
        return 0.0, 1.0
    low, high = CALIBRATORS[calibrator](bins, symmetric)
    low, high = max(min(low, 0.0), -_LARGEST), min(max(high, 0.0), _LARGEST)
    if bins.lower[0] >= 0:
        low = 0.0
    if high - low < _SMALLEST:  # everything but a few outliers is zero: the outliers are all there is
        low, high = minmax(bins, symmetric)
        low, high = max(min(low, 0.0), -_LARGEST), min(max(high, 0.0), _LARGEST)
        if bins.lower[0] >= 0:
            low = 0.0
    return float(np.float32(low)), float(np.float32(high))
