"""Ranges of all calibrators; minmax and percentile against sorted data."""

from __future__ import annotations

import numpy as np
import pytest
from autoquant.strategies.words import CALIBRATORS as OFFERED
from autoquant.tuner.calibration.calibrators import CALIBRATORS, calibrate, percentile
from autoquant.tuner.calibration.histogram import Bins, Histogram
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

PERCENTILES = {"percentile_99.9": 1_000, "percentile_99.99": 10_000, "percentile_99.999": 100_000}
finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
SAMPLES = {
    "normal": lambda rng: rng.standard_normal(250_000) * 3 + 1,
    "laplace": lambda rng: rng.laplace(size=250_000),
    "relu": lambda rng: np.maximum(rng.standard_normal(250_000), 0),
    "hardswish": lambda rng: np.clip((x := rng.standard_normal(250_000) * 2) + 3, 0, 6) * x / 6,
    "outliers": lambda rng: np.where(rng.random(250_000) < 5e-4, 1e4, 1) * rng.standard_normal(250_000),
    "negative": lambda rng: -rng.exponential(size=250_000),
    "mask": lambda rng: np.where(rng.random(250_000) < 0.3, -1e4, rng.standard_normal(250_000)),
}


def bins_of(values: np.ndarray) -> Bins:
    counted = Histogram()
    counted.add(values)
    return counted.bins()


def test_all_calibrators_of_the_search_space_are_here() -> None:
    assert set(CALIBRATORS) == set(OFFERED)


@settings(max_examples=150, deadline=None)
@given(hnp.arrays(np.float32, st.integers(0, 40), elements=finite), st.sampled_from(sorted(CALIBRATORS)), st.booleans())
@example(np.zeros(5, np.float32), "mse", True)
@example(np.array([-3.4e38, 3.4e38], np.float32), "minmax", False)
@example(np.array([1e-45, -1e-45], np.float32), "entropy", False)
@example(np.array([-1.0], np.float32), "entropy", True)
@example(np.array([-1e-45], np.float32), "entropy", True)
def test_every_range_is_usable(values: np.ndarray, calibrator: str, symmetric: bool) -> None:
    low, high = calibrate(bins_of(values), calibrator, symmetric)
    assert low <= 0 <= high
    assert (np.float32(low), np.float32(high)) == (low, high)
    scale = (np.float32(high) - np.float32(low)) / np.float32(255)
    assert np.isfinite(scale)
    assert scale >= np.finfo(np.float32).tiny
    if not len(values) or values.min() >= 0:
        assert low == 0
    elif symmetric and low:  # what is negative by less than 1e-30 may count as zero
        assert low == -high
    elif symmetric:
        assert values.min() > -1e-30
    if len(values) and np.abs(values).max() < 2.0**125 and (low, high) != (0, 1):
        edge = np.abs(values).max() if symmetric else max(values.max(), 0)
        assert high <= np.float32(edge)
        assert low >= -np.float32(edge) if symmetric else low >= min(values.min(), 0)


@pytest.mark.parametrize("values", [[], [0.0, 0.0], [1e-35, -1e-38]])
def test_nothing_but_zeros(values: list[float]) -> None:
    for calibrator in CALIBRATORS:
        for symmetric in (False, True):
            assert calibrate(bins_of(np.array(values, np.float32)), calibrator, symmetric) == (0.0, 1.0)


@pytest.mark.parametrize("name", SAMPLES)
def test_minmax_is_exact(name: str) -> None:
    values = SAMPLES[name](np.random.default_rng(0)).astype(np.float32)
    low, high = calibrate(bins_of(values), "minmax", symmetric=False)
    assert (low, high) == (min(values.min(), 0), max(values.max(), 0))
    top = np.abs(values).max()
    assert calibrate(bins_of(values), "minmax", symmetric=True) == ((-top if values.min() < 0 else 0), top)


@pytest.mark.parametrize("calibrator", PERCENTILES)
@pytest.mark.parametrize("name", SAMPLES)
def test_percentile_against_numpy(name: str, calibrator: str) -> None:
    """Within a tenth of a quantization step of numpy's percentile of the raw values, both tails and of |x|."""
    values = SAMPLES[name](np.random.default_rng(1)).astype(np.float32)
    inside = float(calibrator.removeprefix("percentile_"))
    tail = (100 - inside) / 2
    exact = values.astype(np.float64)
    # 1e-9: 100 - 99.9 is not exactly 0.1, and a rank must not slip by one for it
    want_high = np.percentile(exact, 100 - tail - 1e-9, method="inverted_cdf")
    want_low = -np.percentile(-exact, 100 - tail - 1e-9, method="inverted_cdf")
    low, high = percentile(bins_of(values), False, outside=PERCENTILES[calibrator])
    tenth = (max(want_high, 0) - min(want_low, 0)) / 255 / 10
    assert high == pytest.approx(want_high, abs=tenth)
    assert low == pytest.approx(want_low, abs=tenth)
    want = np.percentile(np.abs(exact), inside - 1e-9, method="inverted_cdf")
    low, high = percentile(bins_of(values), True, outside=PERCENTILES[calibrator])
    assert high == pytest.approx(want, abs=2 * want / 254 / 10)
    assert low == -high


@settings(max_examples=80, deadline=None)
@given(hnp.arrays(np.float32, st.integers(1, 200), elements=st.floats(-1e6, 1e6, width=32)), st.integers(2, 50))
def test_percentile_of_few_values(values: np.ndarray, outside: int) -> None:
    """The order statistic itself, to half a bin."""
    ordered = np.sort(values).astype(np.float64)
    beyond = len(values) // (2 * outside)
    low, high = percentile(bins_of(values), False, outside=outside)
    # half a bin: 2⁻¹² of the value within 15 octaves of the largest, else 2⁻⁴; below 2⁻¹²⁹ all is zero
    fine = np.abs(values).max() * 2.0**-14
    for got, want in ((low, ordered[beyond]), (high, ordered[-1 - beyond])):
        assert abs(got - want) <= abs(want) * (2.0**-12 if abs(want) >= fine else 2.0**-4) * 1.01 + 2.0**-129


def test_percentile_is_what_onnxruntime_means() -> None:
    """Each tail loses half: of 20,000 values 99.9 leaves out ten on either side, the symmetric one twenty."""
    values = np.arange(1, 20_001, dtype=np.float32)
    values[::2] *= -1
    bins = bins_of(values)
    low, high = percentile(bins, False, outside=1_000)
    assert high == pytest.approx(20_000 - 2 * 10, rel=2.0**-12)
    assert low == pytest.approx(-(19_999 - 2 * 10), rel=2.0**-12)
    assert percentile(bins, True, outside=1_000)[1] == pytest.approx(20_000 - 20, rel=2.0**-12)


def test_a_percentile_that_leaves_nothing_falls_back_to_minmax() -> None:
    """A tensor of zeros but for one value in a million keeps that value."""
    values = np.zeros(1_000_000, np.float32)
    values[5] = 4.0
    assert calibrate(bins_of(values), "percentile_99.9", symmetric=False) == (0.0, 4.0)
