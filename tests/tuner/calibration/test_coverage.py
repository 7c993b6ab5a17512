import numpy as np
import pytest
from autoquant.tuner.calibration import compute
from autoquant.tuner.calibration.compute import compute_ranges
from autoquant.tuner.calibration.coverage import coverage
from autoquant.tuner.calibration.statistics import Statistics


def met(samples: int = 64, **values: np.ndarray) -> Statistics:
    from autoquant.tuner.calibration.statistics import TensorStatistics

    tensors = {}
    for name, array in values.items():
        tensors[name] = TensorStatistics()
        tensors[name].histogram.add(array)
    return Statistics(tensors, samples)


RNG = np.random.default_rng(0)
SEEN = RNG.standard_normal((64, 50)).astype(np.float32)


@pytest.mark.parametrize("seed", range(5))
def test_data_of_the_same_kind_is_covered(seed: int) -> None:
    same = np.random.default_rng(seed + 1).standard_normal((64, 50)).astype(np.float32)
    (found,) = coverage(met(x=same), compute_ranges(met(x=SEEN)))
    assert not found.unlike(64)


def test_samples_that_are_each_one_value_are_covered_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """All values of a sample move together: as far as chance goes at its worst."""
    monkeypatch.setattr(compute, "CALIBRATORS", ("minmax",))  # no other is read
    flagged = 0
    for seed in range(100):
        draw = np.random.default_rng(seed)
        before, after = (np.repeat(draw.standard_normal((32, 1)), 50, 1).astype(np.float32) for _ in range(2))
        (found,) = coverage(met(x=after), compute_ranges(met(x=before)))
        flagged += found.unlike(32)
    assert flagged <= 10


@pytest.mark.parametrize(("factor", "offset"), [(20.0, 0.0), (1 / 20, 0.0), (1.0, 3.0), (1.0, -3.0)])
def test_another_preprocessing_is_noticed(factor: float, offset: float) -> None:
    (found,) = coverage(met(x=SEEN * factor + offset), compute_ranges(met(x=SEEN)))
    assert found.unlike(64)


def test_the_share_beyond_and_the_reach_are_those_of_the_values() -> None:
    values = np.concatenate([np.full(75, 0.5), np.full(25, 4.0)]).astype(np.float32)
    ranges = compute_ranges(met(x=np.linspace(-1, 2, 100, dtype=np.float32)))
    (found,) = coverage(met(x=values), ranges)
    assert found.beyond == pytest.approx(0.25)
    assert found.reach == pytest.approx(2.0)


def test_tensors_without_range_or_values_say_nothing() -> None:
    assert coverage(met(x=SEEN, y=SEEN[:0]), compute_ranges(met(y=SEEN))) == []
