"""Fewer bits for the weights of a recipe that holds the target, as long as it goes on holding."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .base import History, Outcome, Recipe, Space
from .recipes import drop_of, holds
from .replay import Procedure, distance, score
from .words import LAYER, ROUNDING, ROUNDINGS, TABLE, WEIGHT_ONLY, WEIGHT_RANGE, WEIGHT_RANGES

PHASE = "squeeze"
_WEIGHT_BITS = {"fp32": 32, "fp16": 16, "int16": 8, "int8": 8, "weight8": 8, "int4": 5}
"""What a weight takes in the file; of blocks of 32 with their scale, 5 bits."""
_OPERATIONS = {"fp32": 32, "fp16": 8, "weight8": 8, "int16": 4, "int4": 4, "int8": 2}
"""Bits of an activation times bits of its weight, by 32."""
_STEPS = ("weight8", "int4")
_AIM = 0.8
_TINY = 1e-9
_WORTH = 0.95
_BETTER = ({WEIGHT_RANGE: WEIGHT_RANGES[1]}, {ROUNDING: ROUNDINGS[1]})
"""What makes 4-bit weights better, tried one on the other."""


def squeezable(space: Space) -> bool:
    """Whether any layer may have its weights alone on integers, or any table be there."""
    return any(
        name.startswith((LAYER, TABLE)) and not set(WEIGHT_ONLY).isdisjoint(values)
        for name, values in space.offered.items()
    )


def squeeze(history: History, start: Outcome) -> Procedure[Outcome]:
    """Weights in float go to 8 bits, then all to 4, by bisection with the metric.

    In each step every layer that would cost less is probed alone (the distance it adds to the recipe so far). They are
    ordered by what they gain against that; bisection finds how many of them hold the target together. Before the step
    to 4 bits, better ranges and rounding are taken along where a probe of all layers says that they help.

    Args:
        history: What is known.
        start: A feasible outcome.

    Returns:
        The cheapest feasible outcome on the way.
    """
    best = start
    for precision in _STEPS:
        names = _open(history, best.recipe, precision)
        if names:
            best = yield from _narrowed(history, best, names, precision)
    return best


def _open(history: History, recipe: Recipe, precision: str) -> list[str]:
    """The layers and tables that would gain from a precision."""
    return [
        name
        for name, offered in history.space.offered.items()
        if name.startswith((LAYER, TABLE)) and precision in offered and _gain(history, recipe, name, precision) > 0
    ]


def _gain(history: History, recipe: Recipe, name: str, precision: str) -> float:
    """What it gains, in parts of the float model's cost."""
    by = _WEIGHT_BITS if history.objective == "size" else _OPERATIONS
    return history.space.shares.get(name, 0.0) * (by[recipe[name]] - by[precision]) / by["fp32"]


def _narrowed(history: History, start: Outcome, names: Sequence[str], precision: str) -> Procedure[Outcome]:
    space = history.space
    ground = yield from distance(start.recipe, PHASE)
    settings: dict[str, str] = {}
    if precision == "int4":
        settings = yield from _settings(space, start.recipe, names)
    rises = {}
    for name in names if len(names) > 1 else ():
        alone = space.canonical(start.recipe.replace({**settings, name: precision}))
        rise = (yield from distance(alone, PHASE)) - ground
        rises[name] = max(rise, _TINY) if math.isfinite(rise) else math.inf
    place = {name: index for index, name in enumerate(names)}
    ranking = sorted(
        names,
        key=lambda name: (-_gain(history, start.recipe, name, precision) / rises.get(name, _TINY), place[name]),
    )
    path = [start.recipe]
    reached = [0.0]
    for count in range(1, len(ranking) + 1):
        changes = {**settings, **dict.fromkeys(ranking[:count], precision)}
        path.append(space.canonical(start.recipe.replace(changes)))
        reached.append(reached[-1] + rises.get(ranking[count - 1], _TINY))
    return (yield from _furthest(history, start, path, reached))


def _settings(space: Space, recipe: Recipe, names: Sequence[str]) -> Procedure[dict[str, str]]:
    """The settings of weights at which all of them on 4 bits are nearest to float."""
    chosen: dict[str, str] = {}
    every = dict.fromkeys(names, "int4")
    least = yield from distance(space.canonical(recipe.replace(every)), PHASE)
    for change in _BETTER:
        if all(value in space.offered.get(name, ()) and recipe[name] != value for name, value in change.items()):
            tried = space.canonical(recipe.replace({**chosen, **change, **every}))
            found = yield from distance(tried, PHASE)
            if found < _WORTH * least:
                chosen, least = {**chosen, **change}, found
    return chosen


def _furthest(history: History, start: Outcome, path: Sequence[Recipe], reached: Sequence[float]) -> Procedure[Outcome]:
    """The outcome of the furthest recipe of a path that holds, if there are none beyond the first that does not.

    All of it first; then by bisection, its next point interpolated: the drop is taken as linear in the summed rise.
    """
    best, low = start, 0
    outcome = yield from score(path[-1], PHASE)
    if holds(history, outcome):
        return outcome
    high, high_drop = len(path) - 1, drop_of(outcome)
    slow = 0
    while high - low > 1:
        middle = (low + high) // 2
        span, rise = reached[high] - reached[low], high_drop - drop_of(best)
        if slow < 2 and math.isfinite(span) and math.isfinite(rise) and rise > 0:
            aim = reached[low] + span * (_AIM * history.target - drop_of(best)) / rise
            middle = max((k for k in range(low + 1, high) if reached[k] <= aim), default=low + 1)
        width = high - low
        outcome = yield from score(path[middle], PHASE)
        if holds(history, outcome):
            best, low = outcome, middle
        else:
            high, high_drop = middle, drop_of(outcome)
        slow = slow + 1 if 2 * (high - low) > width else 0
    return best
