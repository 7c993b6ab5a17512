"""The range of least information loss (Kullback-Leibler divergence).

S. Migacz, "8-bit Inference with TensorRT", GPU Technology Conference 2017.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from .histogram import MANTISSA_BITS, Bins


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
    levels = 128 if symmetric and low < 0 else 256
    ends = np.arange(levels, len(counts) + 1)
    end = int(ends[best(divergences(counts, np.zeros_like(ends), ends, levels))])
    cut = max(-low, high) if end == len(counts) else end * width
    return -cut if low < 0 else 0.0, cut if symmetric or high > 0 else 0.0


def _two_sided(bins: Bins, low: float, high: float) -> tuple[float, float]:
    width = bin_width(high - low)
    offset = int(-low / width) + 1  # bins below zero
    inner = np.where(bins.upper > 0, bins.lower, bins.upper)  # the edge nearer to zero
    position = np.floor(inner / width).astype(np.intp)
    position[inner < 0] = -np.floor(-inner[inner < 0] / width).astype(np.intp) - 1
    position[(inner == 0) & (bins.lower < 0)] = -1
    counts = np.bincount(position + offset, bins.counts)
    start, end, levels = 0, len(counts), 256
    for side in ("low", "high") if -low > high else ("high", "low"):
        if side == "low":
            starts = np.arange(0, min(offset, end - levels) + 1)
            start = int(starts[best(divergences(counts, starts, np.full_like(starts, end), levels), first=True)])
        else:
            ends = np.arange(max(offset + 1, start + levels), len(counts) + 1)
            end = int(ends[best(divergences(counts, np.full_like(ends, start), ends, levels))])
    return (
        low if start == 0 else (start - offset) * width,
        high if end == len(counts) else (end - offset) * width,
    )


def bin_width(span: float) -> float:
    """The power of two of which `span` holds 2 048 up to (not including) 4 096."""
    return float(2.0 ** (np.frexp(span)[1] - 1 - MANTISSA_BITS))


def best(divergence: np.ndarray, *, first: bool = False) -> int:
    """Index of the least divergence; of equals the widest range: the first where cuts move inwards, else the last."""
    least = np.flatnonzero(divergence == divergence.min())
    return int(least[0 if first else -1])


def divergences(counts: np.ndarray, starts: np.ndarray, ends: np.ndarray, levels: int) -> np.ndarray:
    """KL(P‖Q) in nats of each window [start, end) of bins.

    Args:
        counts: The histogram, shape [bins].
        starts: First bin kept, int64, shape [n].
        ends: One past the last bin kept, shape [n]; at least `levels` bins are kept.
        levels: Number of quantized levels.

    Returns:
        float64, shape [n]; infinite where P has mass that Q lacks.
    """
    total = counts.sum()
    running = np.concatenate([[0.0], np.cumsum(counts, dtype=np.float64)])
    filled = np.concatenate([[0.0], np.cumsum(counts > 0, dtype=np.float64)])
    edges = _edges(len(counts), levels)[ends - starts - levels] + starts[:, None]
    mass = np.diff(np.take(running, edges), axis=1)
    spread = np.diff(np.take(filled, edges), axis=1)
    below, above = running[starts], total - running[ends]
    spread[:, 0] += (below > 0) & (counts[starts] == 0)
    spread[:, -1] += (above > 0) & (counts[ends - 1] == 0)
    lost = ((mass[:, 0] == 0) & (below > 0)) | ((mass[:, -1] == 0) & (above > 0))
    density = np.log(np.where(mass > 0, mass, 1.0) / np.maximum(spread, 1.0))
    cross = np.einsum("ij,ij->i", mass, density) + below * density[:, 0] + above * density[:, -1]
    own = np.concatenate([[0.0], np.cumsum(_xlogx(counts))])
    inside = own[ends] - own[starts]
    first, last = counts[starts], counts[ends - 1]
    inside += _xlogx(first + below) - _xlogx(first) + _xlogx(last + above) - _xlogx(last)
    kept = running[ends] - running[starts]
    result = (inside - cross) / total + np.log(np.maximum(kept, 1.0) / total)
    return np.where(lost | (kept == 0), np.inf, result)


def _xlogx(values: np.ndarray) -> np.ndarray:
    return np.asarray(values * np.log(np.maximum(values, 1.0)))


@cache
def _edges(bins: int, levels: int) -> np.ndarray:
    """Level boundaries ⌊j·m/levels⌋ of windows of m = levels … bins bins, shape [bins - levels + 1, levels + 1]."""
    return np.arange(levels, bins + 1)[:, None] * np.arange(levels + 1) // levels
