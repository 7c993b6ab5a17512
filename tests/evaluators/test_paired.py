import math

import numpy as np
import pytest
from autoquant.evaluators.paired import drop_interval
from hypothesis import given
from hypothesis import strategies as st


def interval(base: np.ndarray, mine: np.ndarray, **options) -> tuple[float, float]:
    return drop_interval(base, mine, **({"relative": False, "higher_is_better": True} | options))


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("continuous", [False, True])
def test_against_the_normal_approximation(relative: bool, continuous: bool) -> None:
    rng = np.random.default_rng(1)
    base = (rng.random(2000) < 0.8).astype(float)
    mine = base * (rng.random(2000) < 0.97)
    if continuous:
        base, mine = base + 0.01 * rng.standard_normal(2000), mine + 0.01 * rng.standard_normal(2000)
    drop = base - mine
    center, error = drop.mean(), drop.std() / math.sqrt(2000)
    if relative:  # delta method
        ratio = center / base.mean()
        error = (drop - ratio * base).std() / math.sqrt(2000) / base.mean()
        center = ratio
    low, high = interval(base, mine, relative=relative)
    assert low == pytest.approx(center - 1.96 * error, abs=0.2 * error)
    assert high == pytest.approx(center + 1.96 * error, abs=0.2 * error)


def test_it_covers() -> None:
    """95 % intervals of 200 small data sets hold the true drop about 190 times."""
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(200):
        base = (rng.random(300) < 0.9).astype(float)
        mine = np.where(rng.random(300) < 0.1, 1 - base, base)  # 10 % flipped: the true drop is 0.08
        low, high = interval(base, mine, resamples=500)
        held += low <= 0.08 <= high
    assert 180 <= held <= 199


def test_pairing_narrows() -> None:
    rng = np.random.default_rng(3)
    base = rng.standard_normal(500) * 10
    low, high = interval(base, base - 1)
    assert (low, high) == pytest.approx((1, 1))
    low, high = interval(base, rng.permutation(base) - 1)
    assert high - low > 1


def test_direction_and_relative() -> None:
    base, worse = np.full(50, 2.0), np.full(50, 3.0)
    assert interval(base, worse, higher_is_better=False) == pytest.approx((1, 1))
    assert interval(base, worse, higher_is_better=True) == pytest.approx((-1, -1))
    assert interval(base, worse, higher_is_better=False, relative=True) == pytest.approx((0.5, 0.5))
    assert interval(-base, -worse, higher_is_better=True, relative=True) == pytest.approx((0.5, 0.5))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40), st.integers(0, 5))
def test_seeded_ordered_and_bounded(pairs: list[tuple[bool, bool]], seed: int) -> None:
    base, mine = np.array(pairs, float).T
    low, high = interval(base, mine, seed=seed, resamples=100)
    assert -1 <= low <= high <= 1
    assert (low, high) == interval(base, mine, seed=seed, resamples=100)


def test_a_baseline_of_zero() -> None:
    assert all(map(math.isnan, interval(np.zeros(5), np.ones(5), relative=True)))
    rare = np.zeros(20)
    rare[0] = 1
    assert all(map(math.isfinite, interval(rare, rare, relative=True)))


@pytest.mark.parametrize("shapes", [(0, 0), (3, 4)])
def test_scores_that_do_not_pair(shapes: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="equally long"):
        interval(np.ones(shapes[0]), np.ones(shapes[1]))
