import numpy as np
import pytest
from autoquant.evaluators.feeds import Input
from autoquant.tuner.calibration.inputshift import Profile, shift

INPUTS = (Input("x", "float32", ("N", 3, None, None)),)


def pictures(samples: int, seed: int) -> np.ndarray:
    """Each with a light, a tint and a contrast of its own, in -1…1."""
    rng = np.random.default_rng(seed)
    level = 0.3 * rng.standard_normal((samples, 1, 1, 1)) + 0.1 * rng.standard_normal((samples, 3, 1, 1))
    noise = rng.uniform(0.1, 0.4, (samples, 1, 1, 1)) * rng.standard_normal((samples, 3, 8, 8))
    return np.clip(level + noise, -1, 1).astype(np.float32)


def profile(pixels: np.ndarray, batch: int = 5) -> np.ndarray:
    found = Profile(INPUTS)
    for start in range(0, len(pixels), batch):
        found.add({"x": pixels[start : start + batch]})
    return found.values


def test_a_profile_is_mean_and_deviation_by_channel() -> None:
    pixels = pictures(7, 0)
    found = profile(pixels)
    np.testing.assert_allclose(found[:, :3], pixels.mean(axis=(2, 3)), atol=1e-6)
    np.testing.assert_allclose(found[:, 3:], pixels.std(axis=(2, 3)), rtol=1e-4)


@pytest.mark.parametrize("calibrated", [16, 64, 200])
def test_random_draws_are_alike(calibrated: int) -> None:
    for seed in range(5):
        found = shift(profile(pictures(calibrated, 2 * seed)), profile(pictures(16, 2 * seed + 1)))
        assert found is not None
        assert not found.notable, (seed, found)


@pytest.mark.parametrize("wrong", [(0.5, 0.5), (255.0, 0.0), (1 / 255, 0.0), (127.5, 127.5)])
@pytest.mark.parametrize("calibrated", [16, 200])
def test_what_is_scaled_otherwise_is_told(wrong: tuple[float, float], calibrated: int) -> None:
    factor, offset = wrong
    found = shift(profile(factor * pictures(calibrated, 1) + offset), profile(pictures(16, 2)))
    assert found is not None
    assert found.notable, found


def test_the_distance_is_hotelling_s() -> None:
    rng = np.random.default_rng(3)
    one, other = rng.standard_normal((30, 2)), rng.standard_normal((20, 2)) + np.array([2.0, 0.0])
    found = shift(one, other)
    assert found is not None
    pooled = (29 * np.cov(one.T) + 19 * np.cov(other.T)) / 48
    apart = one.mean(axis=0) - other.mean(axis=0)
    assert found.distance == pytest.approx(float(np.sqrt(apart @ np.linalg.inv(pooled) @ apart)), rel=1e-4)


def test_too_few_or_nothing_to_compare() -> None:
    assert shift(profile(pictures(3, 0)), profile(pictures(16, 1))) is None
    tokens = Profile((Input("ids", "int64", ("N", None)),))
    tokens.add({"ids": np.ones((4, 3), np.int64)})
    assert shift(tokens.values, tokens.values) is None
