"""The fastest recipe the clock knows of, whatever it costs in accuracy: rewrites, glue and layers by latency alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from .base import History, Profile, Recipe, Space
from .recipes import Settings, compose, free_glue, int8_in, remembered, settings_of
from .replay import Procedure, latency, profile
from .timemodel import TimeModel, fit
from .words import REWRITE

MARGIN = 0.01
"""A measured cost must be lower by this part to count as lower: the clock's own noise."""
_PROBES = 20
_IDLE = 4
_DRAWS = 8
_LEAST_INT8 = 0.1
"""Below this part of the layers on integers a result is `no_gain` (DESIGN.md)."""
_WORTH = 0.03
_ENOUGH = 6


@dataclass(frozen=True)
class Fastest:
    """What the clock found.

    Attributes:
        recipe: The fastest recipe timed.
        cost: Its cost.
        clock: The profiled recipes, all that predictions are made from.
        measured: Every recipe timed on the way, with its cost.
    """

    recipe: Recipe
    cost: float
    clock: Clock
    measured: Mapping[Recipe, float]


@dataclass(frozen=True)
class Clock:
    """Profiles of the float, the all-int8 and the everything-int8 recipe; with them every history gives a model."""

    floated: tuple[Recipe, Profile, float]
    integers: tuple[tuple[Recipe, Profile, float], ...]

    @property
    def best(self) -> tuple[Recipe, float]:
        """The fastest of the profiled recipes and its cost."""
        recipe, _, cost = min((self.floated, *self.integers), key=lambda known: known[2])
        return recipe, cost

    @property
    def settings(self) -> Settings:
        """What the timed recipes share: first of all the rewrites."""
        return settings_of(self.floated[0])

    def model(self, history: History, measured: Mapping[Recipe, float] | None = None) -> TimeModel:
        """The model of all that was timed under these rewrites: probes, and trials whatever their calibrator."""
        known = measured if measured is not None else timed(history, self.settings)
        return fit(history.space, self.floated, self.integers, known)

    def recipe(self, space: Space, on: Collection[str]) -> Recipe:
        """The timed recipe with these layers and glue types in int8."""
        return with_int8(space, self.settings, on)


def with_int8(space: Space, settings: Settings, on: Collection[str]) -> Recipe:
    """The recipe with just these layers and glue types in int8, as far as the space offers it."""
    floats = [name for name in space.free_layers if name not in on]
    return compose(space, settings, floats=floats, glue=[name for name in space.ops if name in on])


def timed(history: History, settings: Settings) -> dict[Recipe, float]:
    """Every cost measured under these rewrites, by probe or by trial, in the form with these settings."""
    rewrites = _rewrites(settings)
    costs: dict[Recipe, list[float]] = {}
    probed = ((recipe, cost) for (kind, recipe), cost in history.probes.items() if kind == "latency")
    scored = ((trial.recipe, trial.cost) for trial in history.trials if trial.cost is not None)
    for recipe, cost in (*probed, *scored):
        if _rewrites(recipe) == rewrites and np.isfinite(cost):
            costs.setdefault(_reset(history.space, recipe, settings), []).append(cost)
    # Sorted: the order of probes must not decide anything.
    return {
        recipe: float(np.mean(costs[recipe])) for recipe in sorted(costs, key=lambda recipe: tuple(recipe.values()))
    }


def fastest(history: History) -> Procedure[Fastest]:
    """Search for speed alone, by latency probes.

    The float graph, all layers in int8 and all glue as well are profiled and timed; a rewrite without which the best of
    them is faster is left out, if without all of these it is again. From there a model predicts every recipe
    (`timemodel.py`); the one it holds for the fastest is timed and corrects it, until four in a row have brought
    nothing. Once a prediction has been timed, a draw from the posterior takes its place (Thompson 1933).

    A fastest recipe with hardly an integer layer gives way to the fastest with a tenth of them where that costs less
    than 3 %: such a model is what was asked for.
    """
    space = history.space
    first = settings_of(space.default())
    clock = yield from _clock(space, first)
    best, cost = clock.best
    kept = dict(first)
    for name in space.rewrites:
        if len(space.offered[name]) > 1:
            without = space.canonical(best.replace({name: "off"}))
            if (yield from latency(without, "speed", cost)) < cost * (1.0 - MARGIN):
                kept[name] = "off"
    if kept != first:
        fewer = yield from _clock(space, kept)
        if fewer.best[1] < cost * (1.0 - MARGIN):
            clock = fewer
    measured = {recipe: cost for recipe, _, cost in (clock.floated, *clock.integers)}
    idle = 0
    for number in range(_PROBES):
        key = ("speed", number, history.seed, tuple(measured.items()))
        recipe = remembered(space, key, partial(_unmeasured, history, clock, dict(measured), number))
        if recipe is None or idle >= _IDLE:
            break
        least = min(measured.values())
        found = yield from latency(recipe, "speed", least * (1.0 + MARGIN))
        idle = 0 if found < least * (1.0 - MARGIN / 2) else idle + 1
        measured[recipe] = found
    recipe, cost = min(measured.items(), key=lambda known: known[1])
    if _integers(space, recipe) < _LEAST_INT8:
        enough = {known: value for known, value in measured.items() if _integers(space, known) >= _LEAST_INT8}
        extra = yield from _enough(history, clock, measured, cost * (1.0 + _WORTH))
        enough |= extra
        measured |= extra
        if enough and min(enough.values()) <= cost * (1.0 + _WORTH):
            recipe, cost = min(enough.items(), key=lambda known: known[1])
    return Fastest(recipe, cost, clock, measured)


def _clock(space: Space, settings: Settings) -> Procedure[Clock]:
    """Profile and time the recipes at the corners."""
    layers = frozenset(space.layers)
    corners = [frozenset[str](), layers]
    if free_glue(space):
        corners.append(layers.union(space.ops))
    found: list[tuple[Recipe, Profile, float]] = []
    for on in corners:
        recipe = with_int8(space, settings, on)
        if recipe in (known for known, _, _ in found):
            continue
        cost = yield from latency(recipe, "speed")
        if np.isfinite(cost):
            found.append((recipe, (yield from profile(recipe, "speed")), cost))
    return Clock(found[0], tuple(found[1:]))


def _unmeasured(history: History, clock: Clock, measured: Mapping[Recipe, float], number: int) -> Recipe | None:
    """The recipe predicted to be the fastest, or by a draw from the posterior where that was timed already."""
    model = clock.model(history, measured)
    recipe = clock.recipe(history.space, model.fastest())
    for draw in range(_DRAWS):
        if recipe not in measured:
            return recipe
        rng = np.random.default_rng([abs(history.seed), number, draw])
        recipe = clock.recipe(history.space, model.fastest(draw=rng))
    return None


def _enough(
    history: History, clock: Clock, measured: Mapping[Recipe, float], limit: float
) -> Procedure[dict[Recipe, float]]:
    """Time the recipes predicted to be the fastest with a tenth of the layers in int8, then draws.

    Precisely where they cost less than the limit.
    """
    space = history.space
    found: dict[Recipe, float] = {}
    for number in range(_ENOUGH):
        known = {**measured, **found}
        key = ("enough", number, history.seed, tuple(known.items()))
        recipe = remembered(space, key, partial(_unmeasured_enough, history, clock, known, number))
        if recipe is None:
            break
        found[recipe] = yield from latency(recipe, "speed", limit * (1.0 + MARGIN))
    return found


def _unmeasured_enough(history: History, clock: Clock, measured: Mapping[Recipe, float], number: int) -> Recipe | None:
    space, model = history.space, clock.model(history, measured)
    for draw in range(_DRAWS):
        seed = None if draw == 0 else [abs(history.seed), number, draw]
        on = _with_bonus(space, clock, model, seed)
        recipe = clock.recipe(space, on)
        if recipe not in measured and _integers(space, recipe) >= _LEAST_INT8:
            return recipe
    return None


def _with_bonus(space: Space, clock: Clock, model: TimeModel, seed: list[int] | None) -> frozenset[str]:
    """The fastest with a tenth of the layers in int8: the least bonus per layer brings them."""

    def under(bonus: float) -> frozenset[str]:
        rng = None if seed is None else np.random.default_rng(seed)  # the same draw for every bonus
        return model.fastest(dict.fromkeys(space.layers, -bonus), rng)

    low, high = 0.0, 1.0
    for _ in range(20):
        bonus = (low + high) / 2
        if _integers(space, clock.recipe(space, under(bonus))) >= _LEAST_INT8:
            high = bonus
        else:
            low = bonus
    return under(high)


def _integers(space: Space, recipe: Recipe) -> float:
    """Part of the layers in int8."""
    return sum(recipe[name] == "int8" for name in space.layers) / max(1, len(space.layers))


def _rewrites(recipe: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in recipe.items() if name.startswith(REWRITE)}


def _reset(space: Space, recipe: Recipe, settings: Settings) -> Recipe:
    return with_int8(space, settings, int8_in(recipe))
