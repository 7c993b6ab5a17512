"""Anytime-valid evidence about the total of a finite population, drawn without replacement.

A population of N values x_i, each with a known lower bound l_i, is drawn without replacement. The next of the values
not seen is i with probability q_i, its weight over the weights not seen. Then x_i / q_i estimates the sum of all that
is not seen without bias, and under the hypothesis "the total is at most R" its mean is at most r = R − (the sum seen).
Whoever bets a share λ of his capital on x_i / q_i − r gains nothing on average: his capital is a supermartingale, and
reaches 1/α with probability at most α however often one looks (Ville 1939). With equal weights this is the betting
martingale for sampling without replacement of Waudby-Smith & Ramdas, "Estimating means of bounded random variables by
betting" (JRSS B 2023; their "Confidence sequences for sampling without replacement", NeurIPS 2020, for the setting);
with unequal ones that of Shekhar, Xu, Lipton, Liang & Ramdas, "Risk-limiting financial audits via weighted sampling
without replacement" (UAI 2023). Bets are one-sided, since only "more than R" matters, and a mixture over fixed shares
of the largest bet that cannot ruin stands for the unknown best one. What remains possible counts too: a total that the
lower bounds of the rest rule out is ruled out for certain.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

BETS = np.array([0.02, 0.05, 0.1, 0.2, 0.35, 0.55, 0.8, 1.0])
"""Shares of the largest bet. Small ones win where rare losses are looked for, great ones where rare gains are."""

_ROUNDING = 1e-12
_STEPS = 40


@dataclass(frozen=True)
class Order:
    """An order in which a population is drawn, and what is known of each draw before it. Arrays in drawing order.

    Attributes:
        indices: The population's indices, int64 [N].
        inverse: 1 / q of each draw, float64 [N].
        floor: The least that x / q of each draw can be, float64 [N]; at most 0.
        rest: Sum of the lower bounds of all not seen before each draw, float64 [N + 1].
        random: Whether it was drawn at random; if not, only what is certain counts.
    """

    indices: np.ndarray
    inverse: np.ndarray
    floor: np.ndarray
    rest: np.ndarray
    random: bool


def draw(lows: np.ndarray, weights: np.ndarray, random: np.random.Generator) -> Order:
    """Draw an order at random, the heavier the earlier (Efraimidis & Spirakis 2006: exponential keys).

    Args:
        lows: Lower bounds of the values, at most 0, float64 [N].
        weights: Above 0, float64 [N]. Chosen before any value is seen.
        random: Where the order comes from.
    """
    return _order(lows, weights, np.argsort(random.exponential(size=len(weights)) / weights), random=True)


def given(lows: np.ndarray, *, random: bool) -> Order:
    """The order as it comes, all weights equal; `random` says that it is as good as drawn."""
    return _order(lows, np.ones(len(lows)), np.arange(len(lows)), random=random)


def _order(lows: np.ndarray, weights: np.ndarray, indices: np.ndarray, *, random: bool) -> Order:
    low, weight = lows[indices], weights[indices]
    unseen = np.cumsum(weight[::-1])[::-1]
    deepest = np.maximum.accumulate((-low / weight)[::-1])[::-1]
    rest = np.append(np.cumsum(low[::-1])[::-1], 0.0)
    return Order(indices, unseen / weight, -unseen * deepest, rest, random)


class Evidence:
    """Evidence against "the population's total is at most R", growing value by value.

    Args:
        order: How the population is drawn.
        total: R.
    """

    def __init__(self, order: Order, total: float) -> None:
        self._order = order
        self._total = total
        self._growth = np.zeros(len(BETS))
        self.seen = 0
        self.sum = 0.0

    def add(self, values: np.ndarray) -> np.ndarray:
        """Take in the next values of the order, float64 [n].

        Returns:
            The log of the capital after each of them, float64 [n]: infinite once the hypothesis is impossible.
        """
        growth, path = log_capital(self._order, values, self._total, self.seen, self.sum, self._growth)
        if len(values):
            self._growth = growth
        self.seen += len(values)
        self.sum += float(values.sum())
        return path


def log_capital(
    order: Order, values: np.ndarray, total: float, start: int, before: float, growth: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The capital of every bet and of their mixture, in logs.

    Args:
        order: How the population is drawn.
        values: Those drawn from `start` on, float64 [n].
        total: R of the hypothesis.
        start: Draws before them, and `before` their sum.
        growth: Log capital of every bet before them, float64 [bets].

    Returns:
        (log capital of every bet after them [bets], log of the mean capital after each of them [n]).
    """
    upto = slice(start, start + len(values))
    sums = before + np.concatenate([[0.0], np.cumsum(values)])
    tolerance = _ROUNDING * max(1.0, float(np.abs(order.rest[0])), abs(total))
    impossible = sums[1:] + order.rest[start + 1 : start + len(values) + 1] > total + tolerance
    path = np.zeros(len(values))
    if order.random and len(values):
        floor = order.floor[upto]
        # What is won or lost is measured from the floor: both at least 0 while the hypothesis is possible.
        won = np.maximum(values * order.inverse[upto] - floor, 0.0)
        fair = total - sums[:-1] - floor
        possible = fair > tolerance
        ratio = np.where(possible, won, 1.0) / np.where(possible, fair, 1.0)
        with np.errstate(divide="ignore"):
            steps = np.log((1.0 - BETS) + BETS * ratio[:, None])
        paths = growth + np.cumsum(steps, axis=0)
        growth = paths[-1]
        path = np.logaddexp.reduce(paths, axis=1) - math.log(len(BETS))
    return growth, np.where(np.maximum.accumulate(impossible), np.inf, path)


def lower_bound(order: Order, values: np.ndarray, alpha: float, least: float, most: float) -> float:
    """The largest total that the values seen rule out at 1 − α, by inverting the test. Capital falls with the total.

    Args:
        order: How the population is drawn.
        values: All values seen, in the order drawn, float64 [n].
        alpha: Error rate.
        least: A total that is known to be ruled out; returned where no larger one is.
        most: A total that is not.
    """
    enough, nothing = -math.log(alpha), np.zeros(len(BETS))
    for _ in range(_STEPS):
        middle = 0.5 * (least + most)
        if not least < middle < most or most - least <= 1e-6 * max(1.0, abs(most)):
            break
        ruled_out = log_capital(order, values, middle, 0, 0.0, nothing)[1].max(initial=-np.inf) >= enough
        least, most = (middle, most) if ruled_out else (least, middle)
    return least
