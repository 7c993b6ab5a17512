"""Minimum cuts against enumeration."""

from __future__ import annotations

from itertools import product

import pytest
from autoquant.strategies.cut import cheapest
from hypothesis import given
from hypothesis import strategies as st

_PRICES = st.lists(st.integers(-8, 8), min_size=1, max_size=8)


@st.composite
def problems(draw):
    prices = dict(enumerate(draw(_PRICES)))
    ends = st.integers(0, len(prices) - 1)
    return prices, draw(st.lists(st.tuples(ends, ends, st.integers(0, 6)), max_size=14))


def cost(chosen, prices, borders):
    return sum(prices[v] for v in chosen) + sum(w for u, v, w in borders if (u in chosen) != (v in chosen))


@given(problems())
def test_no_choice_is_cheaper(problem):
    prices, borders = problem
    every = [{v for v, x in zip(prices, bits, strict=True) if x} for bits in product((0, 1), repeat=len(prices))]
    assert cost(cheapest(prices, borders), prices, borders) == min(cost(c, prices, borders) for c in every)


def test_infinite_prices_fix_a_variable():
    chosen = cheapest({"a": float("-inf"), "b": 1.0, "c": float("inf")}, [("a", "b", 2.0), ("b", "c", 0.5)])
    assert chosen == {"a", "b"}


@pytest.mark.parametrize("depth", [2000])
def test_a_deep_chain(depth):
    prices = dict.fromkeys(range(depth), 0.0) | {0: -1.0, depth - 1: -1.0}
    assert cheapest(prices, [(i, i + 1, 5.0) for i in range(depth - 1)]) == set(range(depth))
