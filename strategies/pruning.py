"""Taking back needless fallbacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .base import History, Outcome, Recipe
from .recipes import compose, floats_of, glue_of, holds, settings_of
from .replay import Procedure, distance, score
from .sensitivity import order

_SINGLY = 3
_HOPELESS = 3.0


def prune(
    history: History,
    start: Outcome,
    sensitivity: Mapping[str, float],
    infeasible: Sequence[Recipe] = (),
    rate: float | None = None,
) -> Procedure[Outcome]:
    """Make fallbacks int8 again, in halving chunks, then singly, as long as the target holds.

    The order is the reverse of falling back: most gain per sensitivity first. A chunk whose outputs are far off
    by a probe is divided without a trial, and so is what contains an infeasible recipe's int8 layers and more;
    single ones of the latter are left for the last check (`auto`), when all else is settled.

    Args:
        history: What is known.
        start: A feasible outcome.
        sensitivity: Layer → distance it causes.
        infeasible: Recipes known not to hold the target.
        rate: Drop per distance of an infeasible all-int8 recipe, None where unknown.
    """
    space = history.space
    settings, glue = settings_of(start.recipe), glue_of(space, start.recipe)
    floats = set(floats_of(space, start.recipe))
    best = start
    pending = (
        _halves(order(space, sensitivity, floats)[::-1])
        if len(floats) > _SINGLY
        else [[name] for name in order(space, sensitivity, floats)[::-1]]
    )
    failed = list(infeasible)
    while pending:
        chunk = pending.pop(0)
        recipe = compose(space, settings, floats=floats.difference(chunk), glue=glue)
        hopeless = any(_contains(history, recipe, other) for other in failed)
        if not hopeless and len(chunk) > 1 and rate is not None:
            hopeless = (yield from distance(recipe, "prune")) * rate > _HOPELESS * history.target
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


def singles(history: History, recipe: Recipe, sensitivity: Mapping[str, float]) -> list[Recipe]:
    """The recipes with one fallback fewer that were not scored yet, the most promising first.

    Those that contain an infeasible recipe's int8 layers and more come last: were the drop monotone, they would
    be infeasible.
    """
    space = history.space
    settings, glue = settings_of(recipe), glue_of(space, recipe)
    floats = floats_of(space, recipe)
    failed = [trial.recipe for trial in history.trials if trial.state != "failed" and not history.feasible(trial)]
    found = []
    for name in order(space, sensitivity, floats)[::-1]:
        candidate = compose(space, settings, floats=set(floats) - {name}, glue=glue)
        if candidate not in history.scored:
            found.append(candidate)
    return sorted(found, key=lambda candidate: any(_contains(history, candidate, other) for other in failed))


def _halves(chunk: Sequence[str]) -> list[list[str]]:
    middle = (len(chunk) + 1) // 2
    return [list(part) for part in (chunk[:middle], chunk[middle:]) if part]


def _contains(history: History, recipe: Recipe, other: Recipe) -> bool:
    """Whether `recipe` has all that is int8 in `other`, under the same settings."""
    names = (*history.space.free_layers, *history.space.ops)
    return settings_of(recipe) == settings_of(other) and all(
        recipe[name] == "int8" for name in names if other[name] == "int8"
    )
