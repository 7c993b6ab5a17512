"""The Kullback-Leibler search against an exhaustive reference written from the paper, on raw values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from autoquant.tuner.calibration.entropy import bin_width, divergences, entropy
from autoquant.tuner.calibration.histogram import Bins, Histogram
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

COUNT = 20_000
SAMPLES = {
    "normal": lambda rng: rng.standard_normal(COUNT),
    "laplace": lambda rng: rng.laplace(size=COUNT) + 0.3,
    "student": lambda rng: rng.standard_t(3, size=COUNT),
    "relu": lambda rng: np.maximum(rng.standard_normal(COUNT), 0),
    "lopsided": lambda rng: np.where(rng.random(COUNT) < 0.5, -0.3 * rng.random(COUNT), rng.exponential(2, COUNT)),
    "negative": lambda rng: -rng.exponential(size=COUNT),
    "mask": lambda rng: np.where(rng.random(COUNT) < 0.2, -50.0, rng.standard_normal(COUNT)),
}


def bins_of(values: np.ndarray) -> Bins:
    counted = Histogram()
    counted.add(values)
    return counted.bins()


def divergence(counts: list[float], keep: int, levels: int, beyond: float = 0.0) -> float:
    """KL(P‖Q) of keeping the first `keep` bins, spelled out bin by bin."""
    p = list(counts[:keep])
    p[0] += beyond
    p[-1] += sum(counts[keep:])
    q = [0.0] * keep
    for level in range(levels):
        members = range(level * keep // levels, (level + 1) * keep // levels)
        filled = [b for b in members if p[b] > 0]
        mass = sum(counts[b] for b in members)
        for b in filled:
            q[b] = mass / len(filled)
    p_total, q_total = sum(p), sum(q)
    if any(b > 0 and a == 0 for a, b in zip(q, p, strict=True)):
        return math.inf
    return sum(b / p_total * math.log((b / p_total) / (a / q_total)) for a, b in zip(q, p, strict=True) if b > 0)


def reference_cut(
    counts: list[float], levels: int, beyond: float = 0.0, shortest: int = 0, stride: int = 1
) -> dict[int, float]:
    """The divergence of every cut (of each `stride`-th, for speed)."""
    return {
        keep: divergence(counts, keep, levels, beyond)
        for keep in range(len(counts), max(levels, shortest) - 1, -stride)
    }


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.int64, st.integers(8, 40), elements=st.integers(0, 9)).filter(lambda counts: counts.sum() > 0),
    st.sampled_from([2, 5, 8]),
    st.sampled_from([0.0, 3.0]),
)
def test_divergences_against_the_definition(counts: np.ndarray, levels: int, beyond: float) -> None:
    got = divergences(counts, levels, beyond)
    for keep in range(levels, len(counts) + 1):
        want = divergence(counts.tolist(), keep, levels, beyond)
        if not counts[:keep].any():
            want = math.inf
        assert got[keep - levels] == pytest.approx(want, abs=1e-9)


def one_sided_counts(values: np.ndarray) -> tuple[np.ndarray, float]:
    magnitude = np.abs(values[values != 0]).astype(np.float64)
    width = bin_width(magnitude.max())
    edges = np.arange(int(magnitude.max() / width) + 2) * width
    return np.histogram(magnitude, edges)[0], width


@pytest.mark.parametrize("name", SAMPLES)
def test_symmetric_against_exhaustive_reference(name: str) -> None:
    """The reference histograms the raw values itself; no cut of its (every 9th, and around ours) is better."""
    values = SAMPLES[name](np.random.default_rng(0)).astype(np.float32)
    low, high = entropy(bins_of(values), True)
    counts, width = one_sided_counts(values)
    assert 2048 <= len(counts) <= 4096
    levels = 128 if values.min() < 0 else 256
    ours = len(counts) if high == np.abs(values).max() else round(high / width)
    assert low == (-high if values.min() < 0 else 0)
    listed = counts.tolist()
    sparse = reference_cut(listed, levels, stride=37)
    near = {k: divergence(listed, k, levels) for k in range(max(levels, ours - 3), min(ours + 3, len(listed)) + 1)}
    assert near[ours] <= min(*sparse.values(), *near.values()) + 1e-12


@pytest.mark.parametrize("name", [name for name in SAMPLES if name != "relu"])
def test_asymmetric_against_exhaustive_reference(name: str) -> None:
    """The longer side is cut first, then the other: each cut is the best where the other side stands."""
    values = SAMPLES[name](np.random.default_rng(0)).astype(np.float32)
    values = values[values != 0].astype(np.float64)
    low, high = entropy(bins_of(values), False)
    bottom, top = min(values.min(), 0.0), max(values.max(), 0.0)
    if top == 0:
        assert high == 0
        assert bottom <= low < 0
        return
    width = bin_width(top - bottom)
    below = int(-bottom / width) + 1
    # bins of negative values are closed at their lower end's mirror image: count magnitudes
    negative = np.histogram(-values[values < 0], np.arange(below + 1) * width)[0][::-1]
    positive = np.histogram(values[values >= 0], np.arange(int(top / width) + 2) * width)[0]
    start = 0 if low == bottom else below + round(low / width)
    end = below + len(positive) if high == top else below + round(high / width)
    counts = np.concatenate([negative, positive])
    if -bottom > top:  # mirror, so that the first cut is at the end
        counts, start, end, below = counts[::-1], len(counts) - end, len(counts) - start, len(counts) - below
    listed = counts.tolist()
    first = reference_cut(listed, 256, stride=61, shortest=below + 1)
    assert divergence(listed, end, 256) <= min(first.values()) + 1e-12
    beyond = float(counts[end:].sum())
    rest = counts[:end][::-1].tolist()
    second = reference_cut(rest, 256, beyond, stride=61, shortest=end - below)
    assert divergence(rest, end - start, 256, beyond) <= min(second.values()) + 1e-12


def test_zeros_do_not_count() -> None:
    values = np.abs(np.random.default_rng(0).standard_normal(COUNT)).astype(np.float32)
    assert entropy(bins_of(values), False) == entropy(bins_of(np.append(values, np.zeros(10 * COUNT))), False)


def test_a_lone_outlier_is_cut() -> None:
    values = np.append(np.random.default_rng(0).standard_normal(100_000), [60.0]).astype(np.float32)
    for symmetric in (False, True):
        low, high = entropy(bins_of(values), symmetric)
        assert 2 < high < 20, (low, high)


@pytest.mark.parametrize("span", [1.0, 1.5, 1.999999, 3e-5, 7e20])
def test_bin_width(span: float) -> None:
    width = bin_width(span)
    assert 2048 <= span / width < 4096
    assert math.log2(width) == int(math.log2(width))
