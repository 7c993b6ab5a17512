"""Recipes that the procedures compose: settings, and which layers and glue fall back to float."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import lru_cache
from itertools import product
from typing import TypeVar

from .base import History, Outcome, Recipe, Space
from .words import ACTIVATION_SYMMETRY, CALIBRATOR, GLOBAL_CHOICES, LAYER, OP, WEIGHT_GRANULARITY, WEIGHT_SYMMETRY

T = TypeVar("T")

GLOBALS = tuple(GLOBAL_CHOICES)
Pairs = tuple[tuple[str, str], ...]
Settings = Mapping[str, str]
"""Values of the global parameters, and of rewrites and layers' own calibrators where they are not the first offered."""


def compose(space: Space, settings: Settings, *, floats: Collection[str] = (), glue: Collection[str] = ()) -> Recipe:
    """As `compose_anew`, remembered: a replay asks for the same hundreds of recipes at every step."""
    key = (tuple(sorted(settings.items())), frozenset(floats), frozenset(glue))
    return remembered(space, key, lambda: compose_anew(space, settings, floats=floats, glue=glue))


def remembered(space: Space, key: object, compute: Callable[[], T]) -> T:
    """The value of a pure function whose arguments are in the key, from the space's memory where it is there."""
    if key not in space.composed:
        space.composed[key] = compute()
    known: T = space.composed[key]
    return known


def compose_anew(
    space: Space, settings: Settings, *, floats: Collection[str] = (), glue: Collection[str] = ()
) -> Recipe:
    """Every layer int8 but `floats` (`layer/…`), all glue float but `glue` (`op/…`), as far as the space offers it."""
    chosen = dict(settings)
    floats, glue = frozenset(floats), frozenset(glue)
    for name, offered in space.offered.items():
        if name.startswith(LAYER):
            chosen[name] = "int8" if "int8" in offered and name not in floats else space.fallback(name)
        elif name.startswith(OP):
            chosen[name] = "int8" if "int8" in offered and name in glue else space.fallback(name)
    return space.canonical(chosen)


def settings_of(recipe: Recipe) -> dict[str, str]:
    """All but the precisions: the global parameters, rewrites and layers' own calibrators."""
    return dict(_settings(recipe))


def under(history: History, settings: Settings) -> list[Outcome]:
    """The trials under these settings."""
    wanted, found = dict(settings), []
    told: dict[int, tuple[Pairs, bool]] = {}  # by identity: the pairs are compared once for all trials that share them
    for trial in history.trials:
        pairs = _settings(trial.recipe)
        if id(pairs) not in told:
            told[id(pairs)] = pairs, dict(pairs) == wanted
        if told[id(pairs)][1]:
            found.append(trial)
    return found


@lru_cache(maxsize=8192)
def _settings(recipe: Recipe) -> Pairs:
    """Remembered for speed alone: asked of every trial, at every step."""
    return _shared(tuple((name, value) for name, value in recipe.items() if not name.startswith((LAYER, OP))))


@lru_cache(maxsize=1024)
def _shared(pairs: Pairs) -> Pairs:
    """The same object for equal pairs."""
    return pairs


@lru_cache(maxsize=8192)
def int8_in(recipe: Recipe) -> frozenset[str]:
    """The `layer/…` and `op/…` parameters that are int8. Remembered, as `settings_of` is."""
    return frozenset(name for name, value in recipe.items() if value == "int8")


def floats_of(space: Space, recipe: Recipe) -> tuple[str, ...]:
    """The `layer/…` parameters that could be int8 and are not, in graph order."""
    on = int8_in(recipe)
    return tuple([name for name in space.free_layers if name not in on])


def glue_of(space: Space, recipe: Recipe) -> tuple[str, ...]:
    """The `op/…` parameters that are int8."""
    on = int8_in(recipe)
    return tuple([name for name in space.ops if name in on])


def free_glue(space: Space) -> tuple[str, ...]:
    """The `op/…` parameters that may be int8 or float."""
    return tuple(name for name in space.ops if len(space.offered[name]) > 1)


def activation_settings(space: Space) -> list[dict[str, str]]:
    """All calibrator × activation symmetry settings on offer, weight settings at the first offered."""
    names = [name for name in (CALIBRATOR, ACTIVATION_SYMMETRY) if name in space.offered]
    rest = {name: space.offered[name][0] for name in (WEIGHT_GRANULARITY, WEIGHT_SYMMETRY) if name in space.offered}
    return [
        {**dict(zip(names, values, strict=True)), **rest}
        for values in product(*(space.offered[name] for name in names))
    ]


def price(space: Space, name: str) -> float:
    """What a layer's fallback costs, for ranking: its share of the operations (or bytes), and an equal part.

    The equal part stands for what no share shows: a fallback's conversions at its borders, and that a model of
    few integer layers is not what was asked for. Without it the many small layers fall back first.
    """
    count = max(1, len(space.layers))
    return space.shares.get(name, 0.0) + 1.0 / count


def holds(history: History, outcome: Outcome) -> bool:
    """Whether an outcome is feasible."""
    return history.feasible(outcome)


def drop_of(outcome: Outcome) -> float:
    """An outcome's drop, for a pruned trial its likely one; infinite where there is none (failed trials)."""
    if outcome.drop is None or outcome.state == "failed":
        return float("inf")
    return outcome.drop if outcome.estimate is None else outcome.estimate


def best_of(history: History, outcomes: Iterable[Outcome]) -> Outcome:
    """The outcome of the smallest drop, of those that hold the target where any does; of equal ones the first."""
    return min(outcomes, key=lambda found: (not holds(history, found), found.state == "failed", drop_of(found)))
