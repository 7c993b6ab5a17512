"""The front of cost against drop in a budget: a sweep from the cheapest recipe to float, then a search around it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from .base import Action, History, Outcome, Recipe, Score, Stop
from .corrections import correct
from .expectation import Expectation, Priced, priced
from .front import FLOAT_COST, front, front_of, gain, loss, volume
from .recipes import Settings, compose, free_glue, int8_in, remembered, settings_of, under
from .replay import Procedure, Unknown, distance, replay, score
from .screening import Screened, screen
from .sensitivity import order, sensitivities
from .speed import Clock, fastest, with_int8
from .timed import of_glue
from .tradeoff import path
from .words import LATENCY, UNCORRECTED

TRIALS = 24
"""The budget where none is given."""
SWEEP = "front"
REFINE = "refine"
_WORTH = 0.002
_PATIENCE = 6
_CLOSE = 1.5
_CHILDREN = 48
_MUTATIONS = 2
_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class Variant:
    """The recipes of one sweep: they share their settings.

    Attributes:
        recipes: From the cheapest to float.
        worse: Its drop relative to the first variant's, by the probes, until it has a trial of its own.
    """

    settings: Settings
    recipes: Sequence[Recipe]
    worse: float = 1.0


@dataclass(frozen=True, slots=True)
class Ground:
    """What is known before the sweep.

    Attributes:
        variants: The most promising first; none where nothing is left to choose.
        sensitivity: Layer or glue type → what it costs in accuracy.
        clock: What predicts latencies; None where costs are computed.
    """

    variants: tuple[Variant, ...] = ()
    sensitivity: Mapping[str, float] = field(default_factory=dict)
    clock: Clock | None = None


class Pareto:
    """Screen, correct where the target is missed, probe, sweep λ, refine.

    The sweep's recipes are the solutions of max Σ(gain − λ·sensitivity), λ from 0 (the cheapest) to ∞ (float), under
    the best settings and the second-best: where the cost is computed, prefixes of the order by sensitivity per share,
    where it is measured, the minimum cuts of `tradeoff.py`. The next one is that of the largest expected gain in
    hypervolume; drops are interpolated between the trials of its sweep, costs likewise or predicted by the model of the
    latency. When none promises more, neighbours on the front are crossed and mutated (the variation of NSGA-II, Deb et
    al. 2002) and the child of the largest expected gain is scored.
    """

    name = "pareto"

    def next(self, history: History) -> Action:
        """The next action."""
        try:
            ground = replay(_prepare(history), history)
        except Unknown as missing:
            return missing.action
        if not ground.variants:
            return Stop("no layer leaves a choice: the front is one point")
        size = len(front(history))
        if history.max_trials is None and len(history.trials) >= TRIALS:
            return Stop(f"a front of {size} points after {TRIALS} trials; --max-trials searches on")
        sweep = [recipe for variant in ground.variants for recipe in variant.recipes]
        recipe = _promising(history, ground, sweep, least=_WORTH)
        if recipe is not None:
            return Score(recipe, SWEEP)
        recipe = _promising(history, ground, _children(history)) if _idle(history) < _PATIENCE else None
        if recipe is not None:
            return Score(recipe, REFINE)
        return Stop(f"a front of {size} points, and no further one in sight")


def _prepare(history: History) -> Procedure[Ground]:
    if history.objective == LATENCY:
        return (yield from _by_the_clock(history))
    space = history.space
    screened = yield from _corrected(history, (yield from screen(history)))
    settings = settings_of(screened.outcome.recipe)
    if not space.free_layers:
        return Ground()
    sensitivity = yield from sensitivities(history, settings)
    ranking = order(space, sensitivity, space.free_layers)

    def sweep(settings: Settings) -> list[Recipe]:
        return [compose(space, settings, floats=ranking[:length]) for length in range(len(ranking) + 1)]

    variants = yield from _variants(screened, sweep)
    return Ground(variants, sensitivity)


def _by_the_clock(history: History) -> Procedure[Ground]:
    """From the fastest recipe; the float end is a trial of its own where rewrites alone are faster than the file."""
    space = history.space
    found = yield from fastest(history)
    on = int8_in(found.recipe)
    rewrites = found.clock.settings
    plain = yield from screen(history, lambda settings: with_int8(space, {**rewrites, **settings}, on))
    screened = yield from _corrected(history, plain)
    settings = settings_of(screened.outcome.recipe)
    if not space.free_layers:
        return Ground()
    floated, _, cost = found.clock.floated
    if cost < FLOAT_COST and not int8_in(floated):
        yield from score(floated, SWEEP)
    sensitivity = dict((yield from sensitivities(history, settings)))
    sensitivity |= yield from of_glue(space, settings, screened.outcome.recipe)

    def sweep(settings: Settings) -> list[Recipe]:
        settings = {**rewrites, **settings}
        key = ("path", tuple(found.measured.items()), tuple(sensitivity.items()), tuple(settings.items()), on)
        model = found.clock.model(history, found.measured)
        return remembered(space, key, lambda: path(model, on, sensitivity, settings))[0]

    variants = yield from _variants(screened, sweep)
    return Ground(variants, sensitivity, found.clock)


def _corrected(history: History, screened: Screened) -> Procedure[Screened]:
    """What screening found, all of it corrected where it misses the target and corrections help."""
    outcome = yield from correct(history, screened.outcome, screened.tried)
    chosen = settings_of(outcome.recipe)
    corrections = {name: chosen[name] for name in UNCORRECTED if name in chosen}
    others = ({**settings, **corrections} for settings in screened.ranked)
    rest = [settings for settings in others if not settings.items() <= chosen.items()]
    return Screened(outcome, (chosen, *rest), screened.tried)


def _variants(screened: Screened, sweep: Callable[[Settings], list[Recipe]]) -> Procedure[tuple[Variant, ...]]:
    """The sweep under the best settings, and under the second-best where the probes see little difference."""
    first = Variant(settings_of(screened.outcome.recipe), sweep(settings_of(screened.outcome.recipe)))
    ground = yield from distance(first.recipes[0], SWEEP)
    found = [first]
    for settings in screened.ranked[1:2]:
        recipes = sweep(settings)
        value = yield from distance(recipes[0], SWEEP)
        if value <= _CLOSE * ground and math.isfinite(value):
            worse = max(value, _TINY) / max(ground, _TINY)
            found.append(Variant(settings_of(recipes[0]), recipes, worse))
    return tuple(found)


def _promising(history: History, ground: Ground, recipes: Iterable[Recipe], least: float = -math.inf) -> Recipe | None:
    """The recipe, not tried yet, of the largest expected gain in hypervolume; None where none exceeds `least`."""
    cost = _expected_cost(history, ground)
    drops = {}
    lent = _under(history, ground.variants[0].settings)
    for variant in ground.variants:
        own = _under(history, variant.settings)
        model = Expectation(history, ground.sensitivity, own or lent)
        drops[_key(variant.settings)] = (model, 1.0 if own else variant.worse)
    points = [_point(history, trial.drop or 0.0, trial.cost or 0.0) for trial in front(history)]
    before = volume(points)
    found, value = None, least
    for recipe in recipes:
        held = drops.get(_key(settings_of(recipe)))
        if held is None or recipe in history.scored:
            continue
        model, worse = held
        more = gain(_point(history, worse * model.drop(recipe), cost(recipe)), points, before)
        if more > value:
            found, value = recipe, more
    return found


def _expected_cost(history: History, ground: Ground) -> Priced:
    return priced(history) if ground.clock is None else ground.clock.model(history).cost


def _under(history: History, settings: Settings) -> list[Outcome]:
    return under(history, settings)


def _key(settings: Settings) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(settings.items()))


def _children(history: History) -> list[Recipe]:
    """Crossed and mutated neighbours on the front. A draw depends on the seed and the number of trials alone."""
    space = history.space
    rng = np.random.default_rng([abs(history.seed), len(history.trials)])
    parents = [trial.recipe for trial in front(history)]
    if not parents:
        return []
    pairs = list(pairwise(parents)) or [(parents[0], parents[0])]
    names = (*space.free_layers, *(free_glue(space) if history.objective == LATENCY else ()))
    children = []
    for _ in range(_CHILDREN):
        one, other = pairs[int(rng.integers(len(pairs)))]
        chosen = {name: (one, other)[int(rng.integers(2))][name] for name in names}
        for index in rng.choice(len(names), size=min(len(names), int(rng.integers(_MUTATIONS + 1))), replace=False):
            name = names[int(index)]
            chosen[name] = "int8" if chosen[name] != "int8" else space.fallback(name)
        children.append(space.canonical((one, other)[int(rng.integers(2))].replace(chosen)))
    return children


def _idle(history: History) -> int:
    """Trials since the front last grew by anything worth a trial."""
    least, idle = 0.0, 0
    for count in range(1, len(history.trials) + 1):
        points = [_point(history, t.drop or 0.0, t.cost or 0.0) for t in front_of(history.trials[:count])]
        now = volume(points)
        idle = 0 if now > least + _WORTH / 2 else idle + 1
        least = max(least, now)
    return idle


def _point(history: History, drop: float, cost: float) -> tuple[float, float]:
    return loss(drop, history.target), cost
