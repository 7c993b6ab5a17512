"""The bound against slow and independent ones, and its promise counted in thousands of draws."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from autoquant.evaluators.bounds import BETS, Evidence, Order, draw, given, log_capital, lower_bound
from hypothesis import given as forall
from hypothesis import settings
from hypothesis import strategies as st

ALPHA = 0.01


def naive(order: Order, lows: np.ndarray, weights: np.ndarray, values: np.ndarray, total: float) -> list[float]:
    """The mixture's capital after every draw, as the papers write it: no sums kept, no logs."""
    capital = np.ones(len(BETS))
    found = []
    seen: list[int] = []
    ruled_out = False
    for index in order.indices[: len(values)]:
        unseen = [int(i) for i in order.indices if i not in seen]
        mass = sum(weights[i] for i in unseen)
        before = sum(values[place] for place in range(len(seen)))
        left = total - before  # the conditional mean of value / q under the hypothesis
        floor = min(lows[i] * mass / weights[i] for i in unseen)
        estimate = values[len(seen)] * mass / weights[index]
        if left - floor > 1e-9:
            capital = np.array(
                [c * (1.0 + bet / (left - floor) * (estimate - left)) for c, bet in zip(capital, BETS, strict=True)]
            )
        seen.append(int(index))
        still = sum(lows[i] for i in unseen if i != index)
        ruled_out = ruled_out or before + values[len(seen) - 1] + still > total + 1e-9
        found.append(math.inf if ruled_out else float(capital.mean()))
    return found


@st.composite
def populations(make: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Values, lower bounds at or below them, weights and a seed."""
    count = make(st.integers(1, 14))
    kind = make(st.sampled_from(["right or wrong", "continuous"]))
    seed = make(st.integers(0, 2**32))
    rng = np.random.default_rng(seed)
    if kind == "continuous":
        lows = -rng.random(count)
        values = lows + rng.random(count)
    else:
        lows = -rng.integers(0, 2, count).astype(float)
        values = lows + rng.integers(0, 2, count)
    return values, lows, rng.uniform(0.1, 5.0, count), seed


@settings(max_examples=80, deadline=None)
@forall(populations(), st.floats(-3.0, 6.0), st.integers(0, 14))
def test_the_capital_is_that_of_a_slow_implementation(
    population: tuple[np.ndarray, np.ndarray, np.ndarray, int], total: float, cut: int
) -> None:
    values, lows, weights, seed = population
    order = draw(lows, weights, np.random.default_rng(seed))
    drawn = values[order.indices]
    evidence = Evidence(order, total)
    path = np.concatenate([evidence.add(drawn[:cut]), evidence.add(drawn[cut:])])
    expected = naive(order, lows, weights, drawn, total)
    close = abs(values.sum() - total) < 1e-6 or (abs(order.rest - total) < 1e-6).any()
    for found, wanted in zip(path, expected, strict=True):
        if math.isinf(found) and math.isinf(wanted):
            break
        if not close:
            assert math.exp(found) == pytest.approx(wanted, rel=1e-6, abs=1e-9)


@settings(max_examples=100, deadline=None)
@forall(populations())
def test_certainty_is_never_wrong_and_comes_in_time(
    population: tuple[np.ndarray, np.ndarray, np.ndarray, int],
) -> None:
    values, lows, _, _ = population
    order = given(lows, random=False)
    assert not np.isinf(Evidence(order, values.sum() + 1e-9).add(values)).any()
    below = Evidence(order, values.sum() - 1e-3).add(values)
    assert np.isinf(below[-1])
    possible = np.cumsum(values) + np.append(np.cumsum(lows[::-1])[::-1][1:], 0.0)
    assert np.isinf(below).tolist() == np.maximum.accumulate(possible > values.sum() - 1e-3 + 1e-9).tolist()
    assert (below[~np.isinf(below)] == 0.0).all()


def test_draws_follow_the_weights() -> None:
    weights = np.array([1.0, 2.0, 5.0])
    rng = np.random.default_rng(0)
    orders = [draw(np.zeros(3), weights, rng) for _ in range(4000)]
    first = np.bincount([order.indices[0] for order in orders], minlength=3) / 4000
    assert first == pytest.approx(weights / 8.0, abs=0.03)
    second = np.bincount([o.indices[1] for o in orders if o.indices[0] == 2], minlength=3)
    assert second[1] / second.sum() == pytest.approx(2.0 / 3.0, abs=0.04)
    for order in orders[:50]:
        left = weights[order.indices]
        assert order.inverse == pytest.approx([left[i:].sum() / left[i] for i in range(3)])


# --- the promise


def right_or_wrong(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Losses of 300 samples, 260 of them right under the float model: 8 lost and 5 gained. Their least values."""
    right = np.arange(300) < 260
    losses = np.zeros(300)
    losses[rng.choice(260, 8, replace=False)] = 1.0
    losses[260 + rng.choice(40, 5, replace=False)] = -1.0
    return losses, np.where(right, 0.0, -1.0)


def continuous(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Losses of scores between 0 and 1: some samples fall far, most move a little both ways."""
    before = rng.beta(5, 1, 200)
    after = np.clip(before + 0.05 * rng.standard_normal(200), 0.0, 1.0)
    after[rng.choice(200, 10, replace=False)] *= rng.random(10)
    return before - after, before - 1.0


def upper_bound(errors: int, trials: int, level: float = 0.99) -> float:
    """Clopper & Pearson (1934): the largest rate under which so few errors are not rarer than 1 − level."""
    low, high = errors / trials, 1.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        logs = [
            math.lgamma(trials + 1)
            - math.lgamma(k + 1)
            - math.lgamma(trials - k + 1)
            + k * math.log(middle)
            + (trials - k) * math.log1p(-middle)
            for k in range(errors + 1)
        ]
        low, high = (middle, high) if sum(map(math.exp, logs)) > 1.0 - level else (low, middle)
    return high


def test_the_upper_bound_is_known() -> None:
    assert upper_bound(0, 100) == pytest.approx(1 - 0.01 ** (1 / 100))
    assert upper_bound(20, 2000) == pytest.approx(0.0165, abs=1e-4)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("population", [right_or_wrong, continuous])
def test_a_candidate_exactly_at_the_target_is_hardly_ever_stopped(
    population: Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray]], weighted: bool
) -> None:
    """2,000 races whose true drop is the tolerated one, looked at after every sample: at most 2 α are stopped."""
    errors = 0
    for seed in range(2000):
        rng = np.random.default_rng([seed, weighted])
        losses, lows = population(rng)
        weights = np.ones(len(losses))
        if weighted:  # as after races that saw much the same: the lost come early, and so do the gainful
            weights = 0.2 + np.abs(losses) * rng.random(len(losses)) - 3.0 * lows
        order = draw(lows, weights, rng)
        path = Evidence(order, float(losses.sum()) + 1e-9).add(losses[order.indices])
        errors += bool((path >= -math.log(ALPHA)).any())
    assert upper_bound(errors, 2000) <= 2 * ALPHA
    assert errors < 2 * ALPHA * 2000


def test_the_simulation_would_notice_a_bound_that_looks_again_and_again() -> None:
    """A test that holds at one sample size alone, used at every one, is wrong far more often than it says."""
    errors = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        losses, _ = right_or_wrong(rng)
        seen = losses[rng.permutation(300)][:200]
        n = np.arange(20, 201)
        mean = np.cumsum(seen)[19:] / n
        spread = np.sqrt(np.maximum(np.cumsum(seen**2)[19:] / n - mean**2, 1e-4) / n * (1 - n / 300))
        errors += bool((mean - losses.mean() > 2.326 * spread).any())
    assert upper_bound(errors, 300) > 4 * ALPHA


def test_what_is_far_off_is_stopped_early() -> None:
    counts = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        losses = np.zeros(1000)
        losses[rng.choice(850, 150, replace=False)] = 1.0  # 15 % lost where 1 % is tolerated
        lows = np.where(np.arange(1000) < 850, 0.0, -1.0)
        order = draw(lows, np.ones(1000), rng)
        path = Evidence(order, 10.0).add(losses[order.indices])
        counts.append(int(np.argmax(path >= -math.log(ALPHA))) + 1)
    assert np.median(counts) < 100
    assert max(counts) < 250


# --- the lower bound


def empirical_bernstein(values: np.ndarray, count: int, low: float, high: float) -> np.ndarray:
    """Lower bounds of the mean, anytime-valid, by the empirical-Bernstein confidence sequence without replacement.

    Waudby-Smith & Ramdas 2020, with predictable plug-in bets, one-sided; values scaled to [0, 1].
    """
    scaled = (values - low) / (high - low)
    n = np.arange(1, len(scaled) + 1)
    before = np.concatenate([[0.5], (0.5 + np.cumsum(scaled)) / (n + 1)])[:-1]
    mean = (0.5 + np.cumsum(scaled)) / (n + 1)
    variance = (0.25 + np.cumsum((scaled - mean) ** 2)) / (n + 1)
    earlier = np.concatenate([[0.25], variance])[:-1]
    bets = np.minimum(np.sqrt(2 * math.log(1 / ALPHA) / (earlier * n * np.log(n + 1))), 0.5)
    psi = (-np.log1p(-bets) - bets) / 4
    v = 4 * (scaled - before) ** 2
    left = count - n + 1
    seen = np.concatenate([[0.0], np.cumsum(scaled)])[:-1]
    drift = np.cumsum(bets * seen / left) + np.cumsum(bets * scaled)
    weight = np.cumsum(bets * (1 + (n - 1) / left))
    bound = (drift - (math.log(1 / ALPHA) + np.cumsum(v * psi))) / weight
    return low + (high - low) * np.maximum.accumulate(bound)


def test_the_bound_holds_and_beats_empirical_bernstein() -> None:
    ours, theirs, wrong = [], [], 0
    for seed in range(120):
        rng = np.random.default_rng(seed)
        losses, lows = right_or_wrong(rng)
        losses[rng.choice(260, 40, replace=False)] = 1.0
        order = draw(lows, np.ones(300), rng)
        seen = losses[order.indices][:150]
        bound = lower_bound(order, seen, ALPHA, -300.0, 300.0) / 300
        other = float(empirical_bernstein(seen, 300, -1.0, 1.0)[-1])
        assert other <= losses.mean() + 1e-12
        wrong += bound > losses.mean()
        ours.append(bound)
        theirs.append(other)
    assert wrong <= 4
    assert np.median(ours) > np.median(theirs)
    assert all(one >= other - 0.02 for one, other in zip(ours, theirs, strict=True))


def test_the_bound_is_where_the_test_turns_and_ends_at_the_truth() -> None:
    rng = np.random.default_rng(3)
    losses, lows = continuous(rng)
    order = draw(lows, rng.uniform(0.5, 2.0, 200), rng)
    drawn = losses[order.indices]
    bounds = [lower_bound(order, drawn[:n], ALPHA, -200.0, 200.0) for n in (20, 60, 120, 180, 200)]
    assert bounds == sorted(bounds)
    assert bounds[-1] == pytest.approx(losses.sum(), abs=1e-3)
    for n, bound in zip((60, 120), bounds[1:3], strict=True):
        for total, stopped in ((bound - 0.01, True), (bound + 0.01, False)):
            path = log_capital(order, drawn[:n], total, 0, 0.0, np.zeros(len(BETS)))[1]
            assert (path >= -math.log(ALPHA)).any() == stopped
