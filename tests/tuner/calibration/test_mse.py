"""The least-squares range against brute force on the raw values."""

from __future__ import annotations

import numpy as np
import pytest
from autoquant.tuner.calibration.calibrators import calibrate
from autoquant.tuner.calibration.histogram import Bins, Histogram
from autoquant.tuner.calibration.mse import Errors
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

COUNT = 20_000
SAMPLES = {
    "normal": lambda rng: rng.standard_normal(COUNT),
    "shifted": lambda rng: rng.standard_normal(COUNT) + 2.5,
    "laplace": lambda rng: rng.laplace(size=COUNT),
    "student": lambda rng: rng.standard_t(3, size=COUNT),
    "relu": lambda rng: np.maximum(rng.standard_normal(COUNT), 0),
    "relu6": lambda rng: np.clip(rng.standard_normal(COUNT) * 4, 0, 6),
    "lopsided": lambda rng: np.where(rng.random(COUNT) < 0.5, -0.3 * rng.random(COUNT), rng.exponential(2, COUNT)),
    "outlier": lambda rng: np.append(rng.standard_normal(COUNT), 40.0),
    "negative": lambda rng: -rng.exponential(size=COUNT),
    "two lumps": lambda rng: np.append(rng.standard_normal(COUNT), 30 + 0.01 * rng.standard_normal(COUNT // 50)),
}


def bins_of(values: np.ndarray) -> Bins:
    counted = Histogram()
    counted.add(values)
    return counted.bins()


def error(values: np.ndarray, low: float, high: float, levels: int) -> float:
    """Mean squared quantization error, as a kernel would make it."""
    step = (high - low) / levels
    zero = np.rint(-low / step)
    grid = np.clip(np.rint(values / step) + zero, 0, levels)
    return float(np.mean((values - (grid - zero) * step) ** 2))


@pytest.mark.parametrize("name", SAMPLES)
def test_symmetric_against_brute_force(name: str) -> None:
    values = SAMPLES[name](np.random.default_rng(0)).astype(np.float32).astype(np.float64)
    low, high = calibrate(bins_of(values), "mse", symmetric=True)
    top = np.abs(values).max()
    one_sided = values.min() >= 0
    levels = 255 if one_sided else 254
    least = min(error(values, 0 if one_sided else -c, c, levels) for c in top * np.linspace(1, 0.02, 400))
    assert error(values, low, high, levels) <= 1.01 * least


@pytest.mark.parametrize("name", SAMPLES)
def test_asymmetric_against_brute_force(name: str) -> None:
    values = SAMPLES[name](np.random.default_rng(0)).astype(np.float32).astype(np.float64)
    low, high = calibrate(bins_of(values), "mse", symmetric=False)
    cuts = np.linspace(1, 0.05, 24)
    lows = np.unique(min(values.min(), 0) * cuts)
    highs = np.unique(max(values.max(), 0) * cuts)
    least = min(error(values, a, b, 255) for a in lows for b in highs)
    assert error(values, low, high, 255) <= 1.02 * least


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.float32, st.integers(1, 200), elements=st.floats(-100, 100, width=16)),
    st.floats(0.05, 1),
    st.floats(0.05, 1),
)
def test_errors_are_those_of_the_raw_values(values: np.ndarray, below: float, above: float) -> None:
    """To the width of a bin: v ↦ (v − q(v))² moves by at most 2·|v − q|·δ + δ² when v moves by δ."""
    low, high = min(float(values.min()), 0.0) * below, max(float(values.max()), 0.0) * above
    if high - low < 1e-3:
        return
    got = float(Errors(bins_of(values)).of(np.array([low]), np.array([high]))[0])
    exact = values.astype(np.float64)
    want = error(exact, low, high, 255)
    moved = np.abs(exact) * 2.0**-11 + np.abs(exact).max() * 2.0**-14
    off = np.maximum(np.maximum(exact - high, low - exact), 0) + (high - low) / 255
    assert got == pytest.approx(want, abs=float(np.mean(2 * off * moved + moved**2)) + 1e-12)


@settings(max_examples=40, deadline=None)
@given(hnp.arrays(np.float32, st.integers(1, 100), elements=st.floats(-1e4, 1e4, width=32)), st.booleans())
def test_never_much_worse_than_minmax(values: np.ndarray, symmetric: bool) -> None:
    bins = bins_of(values)
    if np.abs(values).max() < 1e-20:
        return
    ranges = [calibrate(bins, name, symmetric) for name in ("mse", "minmax")]
    levels = 254 if symmetric and values.min() < 0 else 255
    ours, theirs = (error(values.astype(np.float64), *found, levels) for found in ranges)
    # to the histogram's resolution: 2⁻¹² of the largest value
    assert np.sqrt(ours) <= np.sqrt(theirs) + np.abs(values).max() * 2.0**-11
