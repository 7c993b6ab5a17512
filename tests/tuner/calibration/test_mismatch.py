import numpy as np
import pytest
from autoquant.tuner.calibration.mismatch import mismatch
from autoquant.tuner.calibration.ranges import Ranges
from autoquant.tuner.calibration.statistics import Statistics, TensorStatistics


def statistics(values: np.ndarray) -> Statistics:
    """One tensor for each plane of [tensors, samples, …]."""
    tensors = {}
    for number, plane in enumerate(values.astype(np.float32)):
        tensors[f"t{number}"] = TensorStatistics()
        tensors[f"t{number}"].histogram.add(plane)
    return Statistics(tensors, values.shape[1])


def extremes(values: np.ndarray) -> Ranges:
    """What calibration on them would say of the smallest and largest values."""
    found = {}
    for number, plane in enumerate(values.astype(np.float32)):
        span = (min(float(plane.min()), 0.0), max(float(plane.max()), 0.0))
        found[f"t{number}"] = {"minmax": {"asymmetric": span}}
    return Ranges(found, samples=values.shape[1])


def drawn(samples: int, seed: int) -> np.ndarray:
    """Like activations: each sample has a scale of its own, tensors are alike."""
    rng = np.random.default_rng(seed)
    scale = rng.lognormal(0.0, 0.15, (1, samples, 1))
    return np.asarray(scale * rng.standard_normal((40, samples, 100)))


@pytest.mark.parametrize("calibrated", [8, 16, 64, 200])
def test_like_data_are_not_called_unlike(calibrated: int) -> None:
    for seed in range(4):
        found = mismatch(statistics(drawn(16, 2 * seed)), extremes(drawn(calibrated, 2 * seed + 1)))
        assert not found.unlike(calibrated), (seed, found)
        assert found.tensors == 40
        assert found.samples == 16


@pytest.mark.parametrize(("factor", "offset"), [(255.0, 0.0), (1 / 255, 0.0), (1.0, 4.0), (2.0, 0.0), (0.2, 0.0)])
@pytest.mark.parametrize("calibrated", [16, 200])
def test_other_data_are(factor: float, offset: float, calibrated: int) -> None:
    found = mismatch(statistics(factor * drawn(16, 1) + offset), extremes(drawn(calibrated, 2)), ("t3",))
    assert found.unlike(calibrated)
    assert found.worst == "t3", "an input is named before any other tensor"
    assert found.to_json()["outside" if factor >= 1 else "narrow"] > 20


def test_what_lies_outside_is_counted_exactly() -> None:
    seen = np.linspace(-1, 1, 1000).reshape(1, 1, -1)
    shifted = seen + 0.5  # the range's tenth is 0.2, so that what exceeds 1.2 counts
    found = mismatch(statistics(shifted), extremes(seen))
    assert found.beyond == pytest.approx(np.mean(shifted > 1.2), abs=0.002)
    assert found.reach == pytest.approx(1.5)
    assert not found.unlike(1000), "a single tensor is not enough"


def test_tensors_without_a_range_are_left_out() -> None:
    ranges = extremes(drawn(16, 0)[:3])
    found = mismatch(statistics(drawn(16, 0)), ranges)
    assert (found.tensors, found.outside, found.worst) == (3, 0, "")
