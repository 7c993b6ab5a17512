"""From statistics to ranges."""

from __future__ import annotations

import numpy as np
from autoquant.tuner.calibration.compute import compute_ranges
from autoquant.tuner.calibration.statistics import Statistics, TensorStatistics


def test_what_held_infinities_has_no_range() -> None:
    """A mask of -inf: any integers' range would make numbers of it, and the Softmax behind it would see the masked."""
    statistics = Statistics({name: TensorStatistics(shape=(3,)) for name in ("mask", "data", "nan")}, 1)
    statistics.tensors["mask"].histogram.add(np.array([0.0, -np.inf, 1.0], np.float32))
    statistics.tensors["data"].histogram.add(np.array([0.0, -2.0, 1.0], np.float32))
    statistics.tensors["nan"].histogram.add(np.array([np.nan, -2.0, 1.0], np.float32))
    ranges = compute_ranges(statistics)
    assert set(ranges.values) == {"data", "nan"}
    assert set(ranges.shapes) == {"mask", "data", "nan"}
