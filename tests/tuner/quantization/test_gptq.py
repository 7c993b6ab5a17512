"""GPTQ against Optimal Brain Quantization by brute force."""

import itertools

import numpy as np
import pytest
from autoquant.tuner.quantization.gptq import DAMPING, gptq
from hypothesis import given, settings
from hypothesis import strategies as st


def problem(outputs: int, size: int, seed: int, groups: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, a Hessian of correlated inputs, symmetric 8-bit scales."""
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((groups, outputs, size)).astype(np.float32)
    mix = rng.standard_normal((groups, size, size))
    rows = rng.standard_normal((groups, 4 * size, size)) @ mix
    return weight, rows.transpose(0, 2, 1) @ rows / (4 * size), np.abs(weight).max(axis=2, keepdims=True) / 7


def loss(weight: np.ndarray, integers: np.ndarray, hessian: np.ndarray, scale: np.ndarray) -> np.ndarray:
    error = integers * scale - weight
    return ((error @ hessian) * error).sum(axis=2)


def obq(row: np.ndarray, hessian: np.ndarray, scale: float, order: np.ndarray, low: int, high: int) -> np.ndarray:
    """One row, the inverse of what is left of the Hessian taken anew at each step (Frantar & Alistarh 2022, eq. 3)."""
    damped = hessian + DAMPING * np.diag(hessian).mean() * np.eye(len(row))
    left, result, todo = row.astype(np.float64).copy(), np.zeros(len(row)), list(order)
    while todo:
        inverse = np.linalg.inv(damped[np.ix_(todo, todo)])
        first = todo[0]
        result[first] = np.clip(np.rint(left[first] / scale), low, high)
        error = left[first] - result[first] * scale
        left[todo] -= error / inverse[0, 0] * inverse[:, 0]
        todo.pop(0)
    return result


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("outputs", "size", "groups"), [(3, 6, 1), (2, 9, 4), (1, 70, 1)])
def test_it_is_obq_in_the_order_of_the_diagonal(outputs, size, groups, seed):
    weight, hessian, scale = problem(outputs, size, seed, groups)
    found = gptq(weight, hessian, scale, np.zeros(1), -7, 7)
    nearest = np.clip(np.rint(weight / scale), -7, 7)
    for group, output in itertools.product(range(groups), range(outputs)):
        order = np.argsort(-np.diag(hessian[group]), kind="stable")
        step = float(scale[group, output, 0])
        reference = obq(weight[group, output], hessian[group], step, order, -7, 7)
        one = (slice(group, group + 1), slice(output, output + 1))
        chosen = min(
            (reference, nearest[group, output]),
            key=lambda integers: loss(weight[one], integers[None, None], hessian[one[0]], scale[one])[0, 0],
        )
        np.testing.assert_array_equal(found[group, output], chosen)


@pytest.mark.parametrize("seed", range(4))
def test_it_comes_near_the_best_rounding_there_is(seed):
    weight, hessian, scale = problem(1, 7, seed)
    found = gptq(weight, hessian, scale, np.zeros(1), -7, 7)
    down = np.floor(weight / scale)
    choices = [np.clip(down + np.array(up), -7, 7) for up in itertools.product((0, 1), repeat=7)]
    best = min(loss(weight, choice, hessian, scale)[0, 0] for choice in choices)
    nearest = loss(weight, np.rint(weight / scale), hessian, scale)[0, 0]
    here = loss(weight, found, hessian, scale)[0, 0]
    assert here < nearest
    assert here - best < 0.6 * (nearest - best)


@given(
    seed=st.integers(0, 10**6),
    outputs=st.integers(1, 4),
    size=st.integers(1, 20),
    groups=st.integers(1, 3),
    rank=st.integers(0, 20),
)
@settings(max_examples=60, deadline=None)
def test_it_is_never_worse_than_rounding_to_nearest(seed, outputs, size, groups, rank):
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((groups, outputs, size)).astype(np.float32)
    rows = rng.standard_normal((groups, rank, size))
    rows[:, :, rng.random(size) < 0.3] = 0.0  # inputs that are always zero
    hessian = rows.transpose(0, 2, 1) @ rows
    scale, zero = rng.uniform(0.05, 1.0, (groups, outputs, 1)), rng.integers(-5, 5, (groups, outputs, 1))
    found = gptq(weight, hessian, scale, zero, -8, 7)
    assert found.min() >= -8
    assert found.max() <= 7
    nearest = np.clip(np.rint(weight / scale) + zero, -8, 7)
    assert (loss(weight, found - zero, hessian, scale) <= loss(weight, nearest - zero, hessian, scale) + 1e-9).all()
    np.testing.assert_array_equal(found, gptq(weight, hessian, scale, zero, -8, 7))


def test_uncorrelated_inputs_leave_nothing_to_make_up_for():
    weight, _, scale = problem(3, 10, 0)
    found = gptq(weight, np.diag(np.arange(1.0, 11.0))[None], scale, np.zeros(1), -7, 7)
    np.testing.assert_array_equal(found, np.rint(weight / scale))
