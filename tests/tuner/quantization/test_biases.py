"""Bias correction against the plain mean, and the sum that has no order."""

import math

import numpy as np
from autoquant.tuner.quantization.biases import shift
from hypothesis import given, settings
from hypothesis import strategies as st


@given(
    seed=st.integers(0, 10**6),
    groups=st.integers(1, 3),
    outputs=st.integers(1, 4),
    size=st.integers(1, 40),
    power=st.integers(-30, 30),
)
@settings(max_examples=80, deadline=None)
def test_it_is_the_shift_of_the_mean_output(seed, groups, outputs, size, power):
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((groups, outputs, size)).astype(np.float32)
    rounded = (weight + 0.05 * rng.standard_normal(weight.shape)).astype(np.float32)
    mean = rng.standard_normal((groups, size)) * 2.0**power
    found = shift(rounded, weight, mean)
    for row, (g, n) in enumerate(np.ndindex(groups, outputs)):
        products = [
            (float(a) - float(b)) * float(x) for a, b, x in zip(rounded[g, n], weight[g, n], mean[g], strict=True)
        ]
        assert math.isclose(found[row], math.fsum(products), rel_tol=1e-9, abs_tol=1e-12 * max(map(abs, products)))


@given(st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_the_order_of_the_inputs_does_not_matter_to_the_bit(seed):
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((1, 3, 50)).astype(np.float32)
    rounded = np.round(weight, 1)
    mean = rng.lognormal(0, 5, (1, 50))
    order = rng.permutation(50)
    there = shift(rounded, weight, mean)
    np.testing.assert_array_equal(shift(rounded[..., order], weight[..., order], mean[..., order]), there)


def test_nothing_moves_nothing():
    weight = np.ones((2, 3, 4), np.float32)
    assert not shift(weight, weight, np.ones((2, 4))).any()
    assert not shift(weight * 2, weight, np.zeros((2, 4))).any()
