"""The benchmark's own AdaRound and descent: on the grid, better than rounding to nearest where inputs go together."""

import numpy as np
import pytest
from autoquant.tuner.quantization.gptq import gptq

from benchmarks.rounding import adaround, descended, nearest

LOW, HIGH = -127, 127


@pytest.fixture(scope="module")
def layer():
    rng = np.random.default_rng(0)
    inputs = np.maximum(rng.standard_normal((500, 4)) @ rng.standard_normal((4, 24)), 0)
    weight = rng.standard_normal((1, 6, 24)).astype(np.float32)
    scale = np.abs(weight).max().reshape(1, 1, 1) / 15
    return weight, (inputs.T @ inputs / 500)[np.newaxis].astype(np.float32), scale, np.zeros((1, 1, 1))


def loss(layer, integers):
    weight, hessian, scale, _ = layer
    off = integers * scale - weight
    return float(((off @ hessian) * off).sum())


def test_adaround_chooses_the_step_below_or_above_and_the_error_falls(layer):
    found = adaround(*layer, LOW, HIGH, iterations=400)
    steps = layer[0] / layer[2]
    assert ((found == np.floor(steps)) | (found == np.floor(steps) + 1)).all()
    assert loss(layer, found) < 0.5 * loss(layer, nearest(*layer, LOW, HIGH))


def test_a_narrow_grid_is_kept_to(layer):
    for method in (nearest, adaround, descended):
        found = method(*layer, -4, 3)
        assert found.min() == -4
        assert found.max() == 3


def test_descent_never_makes_gptq_worse(layer):
    before, after = (loss(layer, method(*layer, LOW, HIGH)) for method in (gptq, descended))
    assert after <= before * (1 + 1e-9)
