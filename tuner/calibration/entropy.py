"""The range of least information loss (Kullback-Leibler divergence).

S. Migacz, "8-bit Inference with TensorRT", GPU Technology Conference 2017.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from .histogram import MANTISSA_BITS, Bins

_WINDOWS = 128  # cuts examined at a time: the temporaries stay in cache
_MOST = (2 << MANTISSA_BITS) + 2  # bins of a tensor with both signs, at worst


def entropy(bins: Bins, symmetric: bool) -> tuple[float, float]:
    """The threshold whose clipped and quantized distribution diverges least from the values' own.

    A histogram of 2 049 to 4 096 bins (their width is a power of two, so that they are unions of the histogram's own
    bins: no count is split) is cut at every bin from the number of levels on. Zeros are left out: every grid holds
    them exactly, and behind a Relu their spike in the first bin would outweigh all else. What lies beyond a cut is
    added to the last bin kept (P); the kept bins are merged into the levels and each level's count spread evenly over
    its non-empty bins (Q); the cut of least KL(P‖Q) wins, the wider of equals. A cut that puts mass where Q has none
    is out.

    Levels: 128 over |x| if symmetric, as in the paper; 256 over [0, high] for a tensor never negative (and mirrored);
    256 over [low, high] otherwise, where the longer side is cut first and then the other, given that cut.
    """
    zero = (bins.lower == 0) & (bins.upper == 0)
    if zero.any():
        bins = Bins(bins.lower[~zero], bins.upper[~zero], bins.counts[~zero])
    low, high = min(float(bins.lower[0]), 0.0), max(float(bins.upper[-1]), 0.0)
    if low < 0 < high and not symmetric:
        return _two_sided(bins, low, high)
    magnitude = np.sort(np.stack([np.abs(bins.lower), np.abs(bins.upper)]), axis=0)
    width = bin_width(max(-low, high))
    counts = np.bincount((magnitude[0] / width).astype(np.intp), bins.counts)
    end = best_cut(counts, 128 if symmetric and low < 0 else 256)
    cut = max(-low, high) if end == len(counts) else end * width
    return -cut if low < 0 else 0.0, cut if symmetric or high > 0 else 0.0


def _two_sided(bins: Bins, low: float, high: float) -> tuple[float, float]:
    width = bin_width(high - low)
    below_zero = int(-low / width) + 1  # number of bins there
    negative = bins.lower < 0
    inner = np.abs(np.where(negative, bins.upper, bins.lower))  # the edge nearer to zero
    distance = (inner / width).astype(np.intp)
    counts = np.bincount(np.where(negative, below_zero - 1 - distance, below_zero + distance), bins.counts)
    start, end = 0, len(counts)
    for side in ("low", "high") if -low > high else ("high", "low"):
        if side == "high":
            beyond = float(counts[:start].sum())
            end = start + best_cut(counts[start:], 256, beyond, shortest=below_zero + 1 - start)
        else:
            beyond = float(counts[end:].sum())
            start = end - best_cut(counts[:end][::-1], 256, beyond, shortest=end - below_zero)
    return (
        low if start == 0 else (start - below_zero) * width,
        high if end == len(counts) else (end - below_zero) * width,
    )


def bin_width(span: float) -> float:
    """The power of two of which `span` holds 2 048 up to (not including) 4 096."""
    return float(2.0 ** (np.frexp(span)[1] - 1 - MANTISSA_BITS))


def best_cut(counts: np.ndarray, levels: int, beyond: float = 0.0, shortest: int = 0) -> int:
    """The number of bins to keep from the first on, between `shortest` and all, for the least divergence.

    Of equals the most. For `beyond` see `divergences`.
    """
    first = max(shortest, levels)
    if first >= len(counts):
        return len(counts)
    found = divergences(counts, levels, beyond)[first - levels :]
    return len(counts) - int(np.argmin(found[::-1]))


def divergences(counts: np.ndarray, levels: int, beyond: float = 0.0) -> np.ndarray:
    """KL(P‖Q) in nats when the first `levels`, `levels` + 1, …, all bins are kept.

    Args:
        counts: The histogram, shape [bins], at least `levels` of them.
        levels: Number of quantized levels.
        beyond: Mass that was cut on the other side already; it counts to the first bin of P.

    Returns:
        float64, shape [bins - levels + 1]; infinite where P has mass that Q lacks.
    """
    ends = np.arange(levels, len(counts) + 1)
    running = np.concatenate([[0.0], np.cumsum(counts, dtype=np.float64)])
    filled = np.concatenate([[0.0], np.cumsum(counts > 0, dtype=np.float64)])
    total, kept = running[-1] + beyond, running[ends]
    above, first, last = running[-1] - kept, float(counts[0]), counts[ends - 1]
    lost = np.zeros(len(ends), np.bool_)
    cross = np.empty(len(ends))
    edges = _edges(len(counts), levels)
    for begin in range(0, len(ends), _WINDOWS):
        part = slice(begin, begin + _WINDOWS)
        mass = np.take(running, edges[part])
        mass = mass[:, 1:] - mass[:, :-1]
        spread = np.take(filled, edges[part])
        spread = spread[:, 1:] - spread[:, :-1]
        if beyond and not first:
            spread[:, 0] += 1
        spread[:, -1] += (above[part] > 0) & (last[part] == 0)
        lost[part] = ((mass[:, -1] == 0) & (above[part] > 0)) | ((mass[:, 0] == 0) & (beyond > 0))
        density = np.maximum(mass, 1)
        density /= np.maximum(spread, 1, out=spread)
        np.log(density, out=density)
        cross[part] = np.einsum("ij,ij->i", mass, density) + beyond * density[:, 0] + above[part] * density[:, -1]
    own = np.cumsum(_xlogx(np.asarray(counts, np.float64)))[ends - 1]
    own += _xlogx(first + beyond) - _xlogx(first) + _xlogx(last + above) - _xlogx(last)
    divergence = (own - cross) / total + np.log(np.maximum(kept, 1) / total)
    return np.where(lost, np.inf, divergence)


def _xlogx(values: np.ndarray | float) -> np.ndarray:
    return np.asarray(values * np.log(np.maximum(values, 1.0)))


@cache
def _edges(bins: int, levels: int) -> np.ndarray:
    """Level boundaries ⌊j·m/levels⌋ of windows of m = levels … bins bins, shape [bins - levels + 1, levels + 1]."""
    if bins < _MOST:
        return _edges(_MOST, levels)[: bins - levels + 1]
    return np.arange(levels, bins + 1)[:, None] * np.arange(levels + 1) // levels
