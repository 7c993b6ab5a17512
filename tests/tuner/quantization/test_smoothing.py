"""SmoothQuant against its formula, and the local error against what rounding really does."""

from __future__ import annotations

import numpy as np
import pytest
from autoquant.tuner.quantization.smoothing import GRID, Reading, local_error, searched, smoothed


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.8, 1.0])
def test_the_papers_formula(alpha: float) -> None:
    rng = np.random.default_rng(0)
    inputs, weights = np.exp(rng.normal(size=7)), np.exp(rng.normal(size=7))
    expected = inputs**alpha / weights ** (1 - alpha)  # equation 4
    found = smoothed(inputs, weights, alpha)
    assert found / found[0] == pytest.approx(expected / expected[0])


def test_channels_without_values_or_weights_have_finite_scales() -> None:
    found = smoothed(np.array([0.0, 2.0]), np.array([1.0, 0.0]), 0.5)
    assert np.isfinite(found).all()
    assert (found > 0).all()


def sample(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Activations with a few channels far larger than the others, and a weight."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(4000, 24)) * np.where(np.arange(24) % 8, 1.0, 40.0)
    return x, rng.normal(size=(10, 24)).astype(np.float32)


def statistics(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return x.min(axis=0), x.max(axis=0), np.square(x).mean(axis=0)


def really(x: np.ndarray, weight: np.ndarray, scale: np.ndarray) -> float:
    """The squared error of the outputs, rounded in full."""
    scaled, moved = x / scale, weight * scale
    step = (max(scaled.max(), 0) - min(scaled.min(), 0)) / 255
    grid = np.abs(moved).max(axis=1, keepdims=True) / 127
    off = (np.rint(scaled / step) * step) @ (np.rint(moved / grid) * grid).T - x @ weight.T
    return float(np.square(off).mean(axis=0).sum())


def test_the_local_error_is_about_what_rounding_brings() -> None:
    x, weight = sample(1)
    reading = Reading(weight.reshape(1, 10, 24, 1), per_row=True)
    largest = np.abs(x).max(axis=0)
    for alpha in (0.0, 0.5, 1.0):
        scale = smoothed(largest, reading.columns, alpha)
        assert local_error([reading], scale, *statistics(x)) == pytest.approx(really(x, weight, scale), rel=0.25)


def test_the_search_finds_about_the_best_strength() -> None:
    x, weight = sample(2)
    reading = Reading(weight.reshape(1, 10, 24, 1), per_row=True)
    largest = np.abs(x).max(axis=0)
    found = really(x, weight, searched([reading], *statistics(x)))
    best = min(really(x, weight, smoothed(largest, reading.columns, alpha)) for alpha in GRID)
    assert found < 1.1 * best
    assert found < 0.5 * really(x, weight, np.ones(24))


def test_even_channels_are_left_alone() -> None:
    x = np.random.default_rng(3).uniform(-1, 1, size=(500, 6))
    weight = np.ones((4, 6), np.float32) * 0.5
    found = searched([Reading(weight.reshape(1, 4, 6, 1), per_row=True)], *statistics(x))
    assert found == pytest.approx(np.ones(6), rel=0.02)


def test_errors_count_relative_to_a_known_reach() -> None:
    x, weight = sample(4)
    parts = weight.reshape(1, 10, 24, 1)
    ones = np.ones(24)
    plain = local_error([Reading(parts, True)], ones, *statistics(x))
    assert local_error([Reading(parts, True, np.full(10, 3.0))], ones, *statistics(x)) == pytest.approx(plain / 9.0)
