"""Weight ranges of least squared error against brute force."""

import numpy as np
import pytest
from autoquant.tuner.quantization import scales
from autoquant.tuner.quantization.weightrange import least_error
from hypothesis import given, settings
from hypothesis import strategies as st


def error(row: np.ndarray, part: float, symmetric: bool, bits: int) -> float:
    made = scales.weight(row, axis=None, symmetric=symmetric, bits=bits, part=np.float32(part))
    return float(((scales.dequantize(made).astype(np.float64) - row) ** 2).mean())


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("outlier", [0.0, 8.0])
def test_it_is_near_the_best_of_a_thousand(symmetric, bits, outlier):
    rng = np.random.default_rng(bits)
    rows = rng.standard_normal((4, 200)).astype(np.float32)
    rows[:, 0] += outlier
    found = least_error(rows, axis=0, symmetric=symmetric, bits=bits)
    for row, part in zip(rows, found, strict=True):
        best = min(error(row, tried, symmetric, bits) for tried in np.linspace(0.05, 1.0, 1000))
        assert error(row, part, symmetric, bits) <= 1.1 * best


def test_an_outlier_is_clipped_where_that_pays():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((2, 5000)).astype(np.float32)
    rows[0, 0] = 40.0
    found = least_error(rows, axis=0, symmetric=True, bits=4)
    assert found[0] < 0.3
    assert error(rows[0], found[0], True, 4) < 0.5 * error(rows[0], 1.0, True, 4)


@given(
    seed=st.integers(0, 10**6),
    axis=st.sampled_from([None, 0, 1]),
    symmetric=st.booleans(),
    bits=st.sampled_from([3, 7, 8]),
)
@settings(max_examples=60, deadline=None)
def test_it_is_never_worse_than_the_whole_range(seed, axis, symmetric, bits):
    rng = np.random.default_rng(seed)
    values = (rng.standard_normal((3, 5)) ** 3).astype(np.float32)
    values[rng.random((3, 5)) < 0.3] = 0.0
    found = least_error(values, axis=axis, symmetric=symmetric, bits=bits)
    assert found.shape == (() if axis is None else (values.shape[axis],))
    assert ((found > 0) & (found <= 1)).all()
    rows = values.reshape(1, -1) if axis is None else np.moveaxis(values, axis, 0)
    for row, part in zip(rows, found.reshape(-1), strict=True):
        assert error(row, part, symmetric, bits) <= error(row, 1.0, symmetric, bits) * (1 + 1e-5) + 1e-12
