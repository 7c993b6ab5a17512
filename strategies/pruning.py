"""Taking back needless fallbacks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from .base import History, Outcome, Recipe
from .recipes import GLOBALS, Settings, compose, drop_of, floats_of, glue_of, holds, int8_in, settings_of
from .replay import Procedure, distance, score
from .sensitivity import order

_SINGLY = 3
_HOPELESS = 3.0
_UNLIKELY = 1.5


def prune(
    history: History, start: Outcome, sensitivity: Mapping[str, float], infeasible: Sequence[Recipe] = ()
) -> Procedure[Outcome]:
    """Make fallbacks int8 again, in halving chunks, then singly, as long as the target holds.

    The order is the reverse of falling back: most gain per sensitivity first. A chunk whose outputs are far off
    by a probe is divided without a trial, and so is what contains an infeasible recipe's int8 layers and more.
    Single layers of little hope are left for the last check (`refine`), when all else is settled.

    Args:
        history: What is known.
        start: A feasible outcome.
        sensitivity: Layer → distance it causes.
        infeasible: Recipes known not to hold the target.
    """
    space = history.space
    settings, glue = settings_of(start.recipe), glue_of(space, start.recipe)
    best, floats, failed = start, set(floats_of(space, start.recipe)), list(infeasible)
    rate = drop_rate(history, settings)
    ranking = order(space, sensitivity, floats)[::-1]
    pending = _halves(ranking) if len(floats) > _SINGLY else [[name] for name in ranking]
    while pending:
        chunk = pending.pop(0)
        recipe = compose(space, settings, floats=floats.difference(chunk), glue=glue)
        hopeless = any(_contains(recipe, other) for other in failed)
        if not hopeless and rate is not None:
            if len(chunk) > 1:
                hopeless = (yield from distance(recipe, "prune")) * rate > _HOPELESS * history.target
            else:
                hopeless = not _likely(history, best, sensitivity.get(chunk[0], 0.0) * rate)
        if not hopeless:
            outcome = yield from score(recipe, "prune")
            if holds(history, outcome):
                best = outcome
                floats.difference_update(chunk)
                continue
            failed.append(recipe)
        if len(chunk) > 1:
            pending = _halves(chunk) + pending
    return best


def singles(history: History, best: Outcome, sensitivity: Mapping[str, float]) -> tuple[list[Recipe], list[Recipe]]:
    """The recipes with one fallback fewer that were not scored yet, the likely and the unlikely to hold.

    Unlikely are those whose drop, by their sensitivity, would be far above the target, and those that contain an
    infeasible recipe's int8 layers and more: were the drop monotone, they would be infeasible. Both lists begin
    with the most gain per sensitivity.
    """
    space = history.space
    settings, glue = settings_of(best.recipe), glue_of(space, best.recipe)
    floats = floats_of(space, best.recipe)
    failed = _next_to(best.recipe, history)
    rate = drop_rate(history, settings)
    likely: list[Recipe] = []
    unlikely: list[Recipe] = []
    for name in order(space, sensitivity, floats)[::-1]:
        recipe = compose(space, settings, floats=set(floats) - {name}, glue=glue)
        if recipe in history.scored:
            continue
        hope = rate is None or _likely(history, best, sensitivity.get(name, 0.0) * rate)
        hope = hope and not any(_contains(recipe, other) for other in failed)
        (likely if hope else unlikely).append(recipe)
    return likely, unlikely


def _next_to(recipe: Recipe, history: History) -> list[Recipe]:
    """The recipes that do not hold, of those that can have no more in int8 than this one and one layer beside."""
    on = int8_in(recipe)
    globals_ = [name for name in GLOBALS if name in recipe]
    return [
        trial.recipe
        for trial in history.trials
        if trial.state != "failed"
        and len(int8_in(trial.recipe) - on) <= 1
        and all(trial.recipe[name] == recipe[name] for name in globals_)
        and not history.feasible(trial)
    ]


def drop_rate(history: History, settings: Settings) -> float | None:
    """Drop per distance, from the all-int8 trial under these settings; None where either is unknown."""
    recipe = compose(history.space, settings)
    outcome = history.scored.get(recipe)
    value = history.probes.get(("distance", recipe), 0.0)
    drop = math.inf if outcome is None else drop_of(outcome)
    if math.isinf(drop) or not 0.0 < value < math.inf:
        return None
    return drop / value if drop > history.target else None


def _likely(history: History, best: Outcome, more: float) -> bool:
    return drop_of(best) + more <= _UNLIKELY * history.target


def _halves(chunk: Sequence[str]) -> list[list[str]]:
    middle = (len(chunk) + 1) // 2
    return [list(part) for part in (chunk[:middle], chunk[middle:]) if part]


def _contains(recipe: Recipe, other: Recipe) -> bool:
    """Whether `recipe` has all that is int8 in `other`, under the same settings."""
    return int8_in(other) <= int8_in(recipe) and all(recipe[name] == other[name] for name in GLOBALS if name in other)
