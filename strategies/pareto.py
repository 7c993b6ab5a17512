"""The front of cost against drop within a budget: one sweep from all-int8 to all-float, then a search around it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .base import Action, History, Outcome, Recipe, Score, Stop
from .expectation import Expectation, Variant, key
from .front import cheaper, front, front_of, gain, loss, volume
from .recipes import Settings, compose, free_glue, settings_of
from .replay import Procedure, Unknown, distance, replay, score
from .screening import screen
from .sensitivity import order, sensitivities

TRIALS = 24
"""The budget where none is given."""
SWEEP = "front"
REFINE = "refine"
_WORTH = 0.002
_PATIENCE = 6
_CLOSE = 1.5
_HARMLESS = 2.0
_CHILDREN = 48
_MUTATIONS = 2
_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class Ground:
    """What is known before the sweep: layer → sensitivity, and the variants, the most promising first."""

    sensitivity: Mapping[str, float]
    variants: tuple[Variant, ...]


class Pareto:
    """Screen, probe, sweep λ, refine.

    The sweep's recipes are the solutions of max Σ(gain − λ·sensitivity) over the layers, λ from 0 (all int8) to ∞ (all
    float): prefixes of the order by sensitivity per gain, under the best settings, the second-best, and with int8 glue
    where that is faster. The next one is that of the largest expected gain in hypervolume, drop and cost interpolated
    between the trials of its sweep. When no prefix promises more, neighbours on the front are crossed and mutated (the
    variation of NSGA-II, Deb et al. 2002) and the child of the largest expected gain is scored.
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
        recipe = _promising(history, ground, _prefixes(history, ground), least=_WORTH)
        if recipe is not None:
            return Score(recipe, SWEEP)
        recipe = _promising(history, ground, _children(history)) if _idle(history) < _PATIENCE else None
        if recipe is not None:
            return Score(recipe, REFINE)
        return Stop(f"a front of {size} points, and no further one in sight")


def _prepare(history: History) -> Procedure[Ground]:
    """Screening, the float end where rewrites make it another model, the sensitivities, and glue by one trial."""
    space = history.space
    screened = yield from screen(history)
    settings = settings_of(screened.outcome.recipe)
    if not space.free_layers:
        return Ground({}, ())
    if space.rewrites:
        yield from score(compose(space, settings, floats=space.free_layers), SWEEP)
    sensitivity = yield from sensitivities(history, settings)
    variants = [Variant(settings)]
    ground = yield from distance(compose(space, settings), SWEEP)
    for other in screened.ranked[1:2]:
        value = yield from distance(compose(space, other), SWEEP)
        if value <= _CLOSE * ground and math.isfinite(value):
            variants.append(Variant(other, worse=max(value, _TINY) / max(ground, _TINY)))
    if history.objective == "latency":
        variants += yield from _with_glue(history, settings, ground)
    return Ground(sensitivity, tuple(variants))


def _with_glue(history: History, settings: Settings, ground: float) -> Procedure[list[Variant]]:
    """The variant with all glue in int8 that does not ruin the outputs, if one trial says that it is faster."""
    harmless = []
    for name in free_glue(history.space):
        value = yield from distance(compose(history.space, settings, glue=[name]), SWEEP)
        if value <= _HARMLESS * ground:
            harmless.append(name)
    if not harmless:
        return []
    together = yield from score(compose(history.space, settings, glue=harmless), SWEEP)
    plain = history.scored.get(compose(history.space, settings))
    faster = together.state == "complete" and (plain is None or plain.state != "complete" or cheaper(together, plain))
    return [Variant(settings, tuple(harmless))] if faster else []


def _prefixes(history: History, ground: Ground) -> Iterable[Recipe]:
    space = history.space
    ranking = order(space, ground.sensitivity, space.free_layers)
    for variant in ground.variants:
        for length in range(len(ranking) + 1):
            yield compose(space, variant.settings, floats=ranking[:length], glue=variant.glue)


def _promising(history: History, ground: Ground, recipes: Iterable[Recipe], least: float = -math.inf) -> Recipe | None:
    """The recipe, not tried yet, of the largest expected gain in hypervolume; None where none exceeds `least`."""
    space = history.space
    kinds: dict[object, list[Outcome]] = {}
    for trial in history.trials:
        kinds.setdefault(key(space, trial.recipe), []).append(trial)
    models: dict[object, tuple[Expectation, float]] = {}
    for variant in reversed(ground.variants):  # the first where two are the same
        own = kinds.get(variant.key(space), [])
        lent = own or kinds.get(ground.variants[0].key(space), [])
        model = Expectation(history, variant, ground.sensitivity, lent)
        models[variant.key(space)] = (model, 1.0 if own else variant.worse)
    points = [_point(history, trial.drop or 0.0, trial.cost or 0.0) for trial in front(history)]
    before = volume(points)
    found, value = None, least
    for recipe in recipes:
        held = models.get(key(space, recipe))
        if held is None or recipe in history.scored:
            continue
        model, worse = held
        more = gain(_point(history, worse * model.drop(recipe), model.cost(recipe)), points, before)
        if more > value:
            found, value = recipe, more
    return found


def _children(history: History) -> list[Recipe]:
    """Crossed and mutated neighbours on the front. A draw depends on the seed and the number of trials alone."""
    rng = np.random.default_rng([abs(history.seed), len(history.trials)])
    parents = [trial.recipe for trial in front(history)]
    if not parents:
        return []
    pairs = list(pairwise(parents)) or [(parents[0], parents[0])]
    layers = history.space.free_layers
    children = []
    for _ in range(_CHILDREN):
        one, other = pairs[int(rng.integers(len(pairs)))]
        chosen = {name: (one, other)[int(rng.integers(2))][name] for name in layers}
        for index in rng.choice(len(layers), size=min(len(layers), int(rng.integers(_MUTATIONS + 1))), replace=False):
            name = layers[int(index)]
            chosen[name] = "int8" if chosen[name] != "int8" else history.space.fallback(name)
        children.append(history.space.canonical((one, other)[int(rng.integers(2))].replace(chosen)))
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
