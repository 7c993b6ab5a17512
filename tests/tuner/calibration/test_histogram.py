"""The histogram: exact, order-free, mergeable, bounded."""

from __future__ import annotations

import numpy as np
import pytest
from autoquant.tuner.calibration import histogram
from autoquant.tuner.calibration.histogram import COARSE_BITS, MANTISSA_BITS, OCTAVES, Bins, Histogram
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

any_floats = hnp.arrays(np.float32, st.integers(0, 300), elements=st.floats(width=32))
finite_floats = hnp.arrays(
    np.float32, st.integers(1, 300), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)
)
few = settings(max_examples=60, deadline=None)


def of(*arrays: np.ndarray) -> Histogram:
    made = Histogram()
    for array in arrays:
        made.add(array)
    return made


def same(a: Bins, b: Bins) -> bool:
    return all(np.array_equal(getattr(a, field), getattr(b, field)) for field in ("lower", "upper", "counts"))


@few
@given(any_floats, st.randoms(use_true_random=False))
def test_order_and_splitting_do_not_matter(values: np.ndarray, random) -> None:
    shuffled = np.array(random.sample(list(values), len(values)), np.float32)
    whole = of(values)
    cuts = sorted(random.randint(0, len(values)) for _ in range(3))
    parts = [of(part) for part in np.split(shuffled, cuts)]
    merged = Histogram()
    for part in parts:
        merged.merge(part)
    assert same(whole.bins(), merged.bins())
    assert (whole.count, whole.zeros, whole.nan, whole.inf) == (merged.count, merged.zeros, merged.nan, merged.inf)
    assert (whole.min, whole.max) == (merged.min, merged.max)


@few
@given(finite_floats, finite_floats, st.integers(1, 7))
def test_blocks_and_pending_values_do_not_matter(first: np.ndarray, second: np.ndarray, block: int) -> None:
    whole = of(np.concatenate([first, second]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(histogram, "_BLOCK", block)
        patch.setattr(histogram, "_PENDING", 2 * block)
        assert same(whole.bins(), of(second, first).bins())


@few
@given(finite_floats)
def test_every_value_lies_in_its_bin(values: np.ndarray) -> None:
    bins = of(values).bins()
    assert bins.counts.sum() == len(values)
    assert (bins.counts > 0).all()
    ordered = np.sort(values).astype(np.float64)
    owner = np.repeat(np.arange(len(bins.counts)), bins.counts)
    subnormal = np.abs(ordered) < 2.0**-129  # these count as zero
    assert ((bins.lower[owner] <= ordered) | subnormal).all()
    assert ((ordered <= bins.upper[owner]) | subnormal).all()
    assert (bins.upper[:-1] <= bins.lower[1:]).all()


@few
@given(finite_floats)
def test_ends_are_exact(values: np.ndarray) -> None:
    counted = of(values)
    assert counted.min == values.min()
    assert counted.max == values.max()
    assert counted.zeros == (np.abs(values) < 2.0**-129).sum()


@few
@given(finite_floats)
def test_bins_are_narrow(values: np.ndarray) -> None:
    """Within the window a bin is at most 2⁻¹¹ of its values wide, below it 2⁻³."""
    bins = of(values).bins()
    size = np.maximum(np.abs(bins.lower), np.abs(bins.upper))
    top = np.frexp(size.max())[1]
    fine = np.frexp(size)[1] > top - OCTAVES
    normal = size >= 2.0**-126
    width = bins.upper - bins.lower
    assert (width[fine & normal] <= size[fine & normal] * 2.0**-MANTISSA_BITS).all()
    assert (width[normal] <= size[normal] * 2.0**-COARSE_BITS).all()


def test_nan_and_infinities_are_counted_apart() -> None:
    counted = of(np.array([1.0, np.nan, -np.inf, 2.0, np.inf, np.nan], np.float32))
    assert (counted.count, counted.min, counted.max) == (2, 1.0, 2.0)
    assert (counted.nan, counted.inf) == (2, 2)


@pytest.mark.parametrize("values", [[], [np.nan], [np.inf, -np.inf]])
def test_nothing_finite(values: list[float]) -> None:
    counted = of(np.array(values, np.float32))
    assert counted.count == 0
    assert (counted.min, counted.max) == (0.0, 0.0)
    assert len(counted.bins().counts) == 0


def test_zeros_of_both_signs_are_one_bin() -> None:
    bins = of(np.array([0.0, -0.0, 0.0, 3.0], np.float32)).bins()
    assert bins.lower.tolist() == [0.0, 3.0]
    assert bins.counts.tolist() == [3, 1]


def test_values_are_copied_when_kept() -> None:
    buffer = np.ones(10, np.float32)
    counted = of(buffer)
    buffer[:] = 7
    counted.add(buffer)
    assert counted.bins().counts.tolist() == [10, 10]


def test_other_float_types_and_layouts() -> None:
    values = np.arange(24, dtype=np.float16).reshape(2, 3, 4)
    assert same(of(values).bins(), of(values.astype(np.float64).transpose(2, 0, 1)).bins())


def test_memory_is_bounded() -> None:
    """The same arrays however many values of whatever size come."""
    rng = np.random.default_rng(0)
    counted = Histogram()
    for exponent in range(-120, 120, 5):
        counted.add((rng.standard_normal(70_000) * 2.0**exponent).astype(np.float32))
    held = sum(part.nbytes for part in counted._fine if part is not None) + counted._coarse.nbytes
    assert held <= 600_000
    assert counted.count == 48 * 70_000
