"""Objective latency: the fastest recipe first, then as little of it given up as the target asks for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from .base import History, Outcome, Recipe, Space
from .bisection import bisect
from .calibrators import recalibrate
from .corrections import mend, rescale, settle
from .recipes import Settings, drop_of, glue_of, holds, int8_in, remembered, settings_of
from .replay import Procedure, distance, latency
from .screening import Screened, screen
from .sensitivity import sensitivities
from .speed import MARGIN, Clock, Fastest, fastest, with_int8
from .tradeoff import path

_TINY = 1e-12


@dataclass(frozen=True)
class Timed:
    """What the procedures found.

    Attributes:
        clock: What predictions of the latency are made from.
        outcome: A trial that holds the target, None where none was found.
        sensitivity: Layer or glue type → distance it causes; empty where the fastest recipe held at once.
        rate: Drop per summed sensitivity; None without sensitivities.
    """

    clock: Clock
    outcome: Outcome | None
    sensitivity: Mapping[str, float]
    rate: float | None = None


def hold(history: History) -> Procedure[Timed]:
    """From the fastest recipe to one that holds the target.

    The calibrators are screened on the fastest recipe, not on all layers in int8: what is slower in int8 anyway must
    not cost accuracy. If none holds, weights and biases are corrected; then channels scaled, where the clock sees no
    difference. If that does not hold, layers and glue types fall back along `tradeoff.path`, and a bisection with the
    metric finds the first point that does. Scaled channels that take time are scored last, where they take less than
    those fallbacks.
    """
    space = history.space
    found = yield from fastest(history)
    on = int8_in(found.recipe)
    rewrites = found.clock.settings
    screened = yield from screen(history, lambda settings: with_int8(space, {**rewrites, **settings}, on))
    best = yield from mend(history, (yield from recalibrate(history, screened.outcome)), screened.tried)
    proposal = yield from rescale(history, best)
    cost = (yield from latency(proposal, "correct")) if proposal is not None else math.inf
    if proposal is not None and cost <= (yield from latency(best.recipe, "correct")) * (1.0 + MARGIN):
        best, proposal = (yield from settle(history, proposal, best)), None
    if holds(history, best):
        return Timed(found.clock, best, {})
    fallen = Timed(found.clock, None, {})
    if space.free_layers:
        fallen = yield from _fallen(history, found, best, _allowance(history, screened))
    held = fallen.outcome
    if proposal is not None and (held is None or held.cost is None or cost < held.cost * (1.0 - MARGIN)):
        scaled = yield from settle(history, proposal, best)
        return replace(fallen, outcome=scaled) if holds(history, scaled) else fallen
    return fallen


def _fallen(history: History, found: Fastest, best: Outcome, allowance: int | None) -> Procedure[Timed]:
    """What holds by layers and glue types that fall back from a recipe that does not, along `tradeoff.path`."""
    space, on = history.space, int8_in(found.recipe)
    settings = settings_of(best.recipe)
    sensitivity = dict((yield from sensitivities(history, settings)))
    sensitivity |= yield from of_glue(space, settings, best.recipe)
    drop = drop_of(best)
    total = sum(sensitivity.get(name, 0.0) for name in on)
    rate = drop / total if total > 0 and 0 < drop < float("inf") else None
    key = ("priced", tuple(found.measured.items()), tuple(sensitivity.items()), tuple(settings.items()), on)
    recipes, remaining, costs = remembered(space, key, lambda: _priced(history, found, on, sensitivity, settings))
    bisected = yield from bisect(history, recipes, remaining, best, allowance, costs)
    return Timed(found.clock, bisected.outcome, sensitivity, rate)


def _priced(
    history: History, found: Fastest, on: frozenset[str], sensitivity: Mapping[str, float], settings: Settings
) -> tuple[list[Recipe], list[float], list[float]]:
    """The path towards float, the sensitivity that remains at each point, and its predicted cost."""
    model = found.clock.model(history, found.measured)
    recipes, remaining = path(model, on, sensitivity, settings)
    return recipes, remaining, [model.predicted(int8_in(recipe)) for recipe in recipes]


def of_glue(space: Space, settings: Settings, recipe: Recipe) -> Procedure[dict[str, float]]:
    """What each glue type in int8 adds to the distance."""
    on = int8_in(recipe)
    types = [name for name in glue_of(space, recipe) if len(space.offered[name]) > 1]
    if not types:
        return {}
    whole = yield from distance(recipe, "sensitivity")
    found = {}
    for name in types:
        found[name] = max(_TINY, whole - (yield from distance(with_int8(space, settings, on - {name}), "sensitivity")))
    return found


def _allowance(history: History, screened: Screened) -> int | None:
    return None if history.max_trials is None else max(1, history.max_trials - screened.scores)
