"""The first recipe of a path towards float that holds the target, by the real metric."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .base import History, Outcome, Recipe, Space
from .recipes import Settings, compose, drop_of, holds, remembered
from .replay import Procedure, score

_AIM = 0.8
_SAFE_AIM = 0.3
_WORTH = 0.02


@dataclass(frozen=True, slots=True)
class Bisected:
    """The feasible outcome (None if not even one layer can be int8) and the infeasible recipes met on the way."""

    outcome: Outcome | None
    infeasible: tuple[Recipe, ...]


def bisect(
    history: History,
    path: Sequence[Recipe],
    remaining: Sequence[float],
    start: Outcome,
    allowance: int | None,
    costs: Sequence[float] | None = None,
) -> Procedure[Bisected]:
    """Search k so that recipe k of a path holds the target and recipe k-1 does not.

    Bisection, its next point interpolated: the drop is taken as linear in the summed sensitivity of what is still
    int8. Where two steps have not halved the bracket, the middle is taken, so that it ends in O(log n) trials
    whatever the sensitivities are worth.

    Args:
        history: What is known.
        path: From the recipe of `start` to one with nothing in int8, ever fewer layers in int8.
        remaining: Of each of them the summed sensitivity of what is int8.
        start: The outcome of the first one (infeasible).
        allowance: Trials left for this, None for no bound. The last one plays safe while nothing is feasible.
        costs: Predicted for each recipe. With them it ends where what is left to gain is less than 2 %: other changes
            than those along the path may gain more for a trial.
    """
    low, high = 0, len(path) - 1
    low_drop, high_drop = drop_of(start), 0.0
    found: Outcome | None = None
    infeasible = [start.recipe]
    steps, slow, width = 0, 0, high
    while high - low > 1:
        if found is not None and costs is not None and costs[high] - costs[low] < _WORTH * costs[high]:
            break
        last_chance = allowance is not None and steps == allowance - 1 and found is None
        aim = history.target * (_SAFE_AIM if last_chance else _AIM)
        if slow >= 2:
            middle, slow, width = (low + high) // 2, 0, high - low
        else:
            middle = _interpolate(remaining, low, high, low_drop, high_drop, aim)
        outcome = yield from score(path[middle], "bisect")
        steps += 1
        if holds(history, outcome):
            high, high_drop, found = middle, drop_of(outcome), outcome
        else:
            low, low_drop = middle, drop_of(outcome)
            infeasible.append(outcome.recipe)
        slow = slow + 1 if 2 * (high - low) > width else 0
        width = width if slow else high - low
    return Bisected(found, tuple(infeasible))


def prefixes(
    space: Space, settings: Settings, order: Sequence[str], sensitivity: Mapping[str, float]
) -> tuple[list[Recipe], list[float]]:
    """The path on which layers fall back in an order, glue in float, and what remains at each step.

    Args:
        space: Of the recipes.
        settings: Global settings of all of them.
        order: All free layers, the first to fall back first.
        sensitivity: Layer → distance it causes.
    """
    key = ("prefixes", tuple(settings.items()), tuple(order))
    counts = range(len(order) + 1)
    path = remembered(space, key, lambda: [compose(space, settings, floats=order[:count]) for count in counts])
    sums = [0.0]
    for name in reversed(order):
        sums.append(sums[-1] + sensitivity.get(name, 0.0))
    return path, sums[::-1]


def _interpolate(remaining: Sequence[float], low: int, high: int, low_drop: float, high_drop: float, aim: float) -> int:
    """The smallest k strictly between low and high whose predicted drop is at most `aim`."""
    span = remaining[low] - remaining[high]
    if not math.isfinite(low_drop) or span <= 0 or low_drop <= high_drop:
        return (low + high) // 2
    slope = (low_drop - high_drop) / span
    for k in range(low + 1, high):
        if high_drop + slope * (remaining[k] - remaining[high]) <= aim:
            return k
    return high - 1
