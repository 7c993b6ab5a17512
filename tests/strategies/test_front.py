import math
from itertools import pairwise

import pytest
from autoquant.strategies.base import Outcome, Recipe
from autoquant.strategies.front import cheaper, front_of, gain, loss, volume
from hypothesis import given
from hypothesis import strategies as st


def trial(number: int, drop: float | None, cost: float | None, noise: float = 0.0, state: str = "complete") -> Outcome:
    return Outcome(number, Recipe({"n": str(number)}), state, None, drop, cost, cost_noise=noise)  # type: ignore[arg-type]


def numbers(*trials: Outcome) -> list[int]:
    return [found.number for found in front_of(trials)]


def test_only_what_nothing_matches_is_on_the_front() -> None:
    assert numbers(trial(0, 0.03, 0.4), trial(1, 0.01, 0.6), trial(2, 0.02, 0.6), trial(3, 0.0, 0.9)) == [3, 1, 0]


def test_pruned_and_failed_trials_are_not() -> None:
    assert numbers(trial(0, 0.02, None, state="pruned"), trial(1, None, None, state="failed")) == []


def test_the_float_file_is_on_every_front() -> None:
    assert numbers(trial(0, 0.0, 1.0), trial(1, 0.001, 1.2), trial(2, -0.01, 1.1)) == []
    assert numbers(trial(0, 0.0, 0.99, noise=0.02)) == []
    assert numbers(trial(0, 0.0, 0.95, noise=0.02)) == [0]


def test_a_difference_inside_the_noise_is_no_difference() -> None:
    calm, lucky, better = trial(0, 0.0, 0.8, 0.02), trial(1, 0.01, 0.79, 0.02), trial(2, 0.02, 0.7, 0.02)
    assert numbers(calm, lucky, better) == [0, 2]
    assert cheaper(better, calm)
    assert not cheaper(lucky, calm)
    exact = [trial(0, 0.0, 0.8), trial(1, 0.01, 0.79)]
    assert numbers(*exact) == [0, 1], "a computed cost has no noise"


def test_equals_are_one_point_the_earliest() -> None:
    assert numbers(trial(4, 0.01, 0.5), trial(2, 0.01, 0.5)) == [2]


def test_the_target_is_the_middle_of_the_scale() -> None:
    assert (loss(-1.0, 0.01), loss(0.0, 0.01), loss(0.01, 0.01)) == (0.0, 0.0, 0.5)
    assert loss(1e6, 0.01) == pytest.approx(1.0)


def test_volume_by_hand() -> None:
    assert volume([]) == 0.0
    assert volume([(0.0, 0.25)]) == 0.75
    assert volume([(0.5, 0.2), (0.0, 0.6), (0.7, 0.9)]) == pytest.approx(0.4 * 0.5 + 0.8 * 0.5)
    assert gain((0.25, 0.4), [(0.5, 0.2), (0.0, 0.6)]) == pytest.approx(0.2 * 0.25)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 2)), max_size=12), st.tuples(st.floats(0, 1), st.floats(0, 2)))
def test_a_point_never_takes_volume_away(points: list[tuple[float, float]], more: tuple[float, float]) -> None:
    assert gain(more, points) >= -1e-12
    assert 0.0 <= volume(points) <= 1.0
    dominated = any(lost <= more[0] and cost <= more[1] for lost, cost in points) or more[1] >= 1.0
    assert not dominated or math.isclose(gain(more, points), 0.0, abs_tol=1e-12)


@given(st.lists(st.tuples(st.floats(0, 0.1), st.floats(0.1, 0.95)), min_size=1, max_size=12))
def test_a_front_rises_in_drop_and_falls_in_cost(points: list[tuple[float, float]]) -> None:
    found = front_of([trial(number, *point) for number, point in enumerate(points)])
    assert found
    for one, other in pairwise(found):
        assert (one.drop or 0.0) <= (other.drop or 0.0)
        assert (one.cost or 0.0) > (other.cost or 0.0)
    costs = [cost for _, cost in points]
    assert found[-1].cost == min(costs), "the cheapest is on it"
