"""Objective latency, once the target is held: what is still faster, and the proof that no single layer is."""

from __future__ import annotations

import math
from collections.abc import Mapping

from .base import Action, History, Outcome, Probe, Recipe, Score, Stop
from .certificate import certificate
from .dropmodel import DropModel, fit
from .front import cheaper
from .recipes import int8_in, settings_of
from .speed import MARGIN, timed, with_int8
from .timed import Timed
from .timemodel import TimeModel
from .tradeoff import path
from .words import LATENCY, LAYER

_LITTLE = 0.1
_GAIN = 0.005
_TINY = 1e-12
_CERTIFIED = 256
"""Latency probes of a study, at most, before a float layer is left uncertified."""
_EXCHANGES = 4
_REFUTED = 12
_HARDLY = 0.02


def incumbent(history: History) -> Outcome | None:
    """The fastest feasible trial; a measured cost must beat an earlier one beyond the noise of both."""
    best: Outcome | None = None
    for trial in history.trials:
        if history.feasible(trial) and trial.cost is not None and (best is None or cheaper(trial, best)):
            best = trial
    return best


def polish(history: History, found: Timed, best: Outcome) -> Action:
    """The next action: an expected improvement, else the certificate of the best, else the end.

    Both models, of the latency and of the drop, have learnt from every probe and trial; the recipe of the largest
    chance to hold times time gained is timed and, if the clock agrees, scored. When none is worth it, or patience is
    over, every float layer that may be faster in int8 is timed so, by itself, and what was faster is scored. Those of
    which the model is sure that they are slower are timed once at the very end, for the certificate.
    """
    idle = sum(trial.number > best.number for trial in history.trials)
    if idle < (history.patience or _EXCHANGES):
        recipe = _promising(history, found, best)
        if recipe is not None:
            return _timed_first(history, recipe, "exchange", best)
    alone = {name: history.space.canonical(best.recipe.replace({name: "int8"})) for name in _open(history, best)}
    untimed = [name for name, recipe in alone.items() if (LATENCY, recipe) not in history.probes]
    probed = sum(kind == LATENCY for kind, _ in history.probes)
    if not untimed or probed >= _CERTIFIED:
        return _certify(history, alone, best, idle)
    times, on = found.clock.model(history), int8_in(best.recipe)
    chances = {name: times.faster(on, on | {name}, MARGIN * (best.cost or 1.0)) for name in untimed}
    first = max(untimed, key=lambda name: chances[name])
    action = _certify(history, alone, best, idle)
    if chances[first] < _HARDLY and not isinstance(action, Stop):
        return action
    return _timed_first(history, alone[first], "certify", best)


def _open(history: History, best: Outcome) -> list[str]:
    """The float layers of which it is not known that they are needed."""
    return [LAYER + entry.layer for entry in certificate(history, best.recipe).layers if not entry.refuted]


def _promising(history: History, found: Timed, best: Outcome) -> Recipe | None:
    settings = settings_of(best.recipe)
    drops = fit(history, settings, found.sensitivity, found.rate)
    if drops is None or best.cost is None:
        return None
    space = history.space
    measured = timed(history, found.clock.settings)
    times = found.clock.model(history, measured)
    seen, worth = None, _GAIN * best.cost
    for recipe in _candidates(history, times, drops, best):
        if recipe in history.scored:
            continue
        chance = drops.chance(recipe)
        on = int8_in(recipe)
        cost = measured.get(found.clock.recipe(space, on), times.predicted(on))
        if chance >= _LITTLE and chance * (best.cost - cost) > worth and cost < best.cost * (1.0 - MARGIN):
            seen, worth = recipe, chance * (best.cost - cost)
    return seen


def _candidates(history: History, times: TimeModel, drops: DropModel, best: Outcome) -> list[Recipe]:
    """The points of the trade-off as it is seen now, and the best with one or two changes."""
    space, settings = history.space, settings_of(best.recipe)
    effects = {name: max(_TINY, float(drops.mean[index])) for name, index in drops.place.items()}
    found = list(path(times, times.fastest(), effects, settings)[0])
    on = int8_in(best.recipe)
    free = [name for name in times.variables if name not in times.required]
    gain = {name: times.predicted(on - {name}) - times.predicted(on | {name}) for name in free}
    into = sorted((n for n in free if n not in on and gain[n] > 0), key=lambda n: effects.get(n, 0.0) / gain[n])[:8]
    out = sorted((n for n in free if n in on), key=lambda n: -effects.get(n, 0.0) / max(gain[n], _TINY))[:8]
    changed = [on | {name} for name in into]
    changed += [on | {one, two} for i, one in enumerate(into) for two in into[i + 1 :]]
    changed += [(on | {one}) - {other} for one in into for other in out]
    return [*found, *(with_int8(space, settings, chosen) for chosen in changed)]


def _timed_first(history: History, recipe: Recipe, phase: str, best: Outcome) -> Action:
    """Score a recipe, but time it first, as far as it takes to see that it is no faster than the best."""
    if (LATENCY, recipe) not in history.probes:
        return Probe(LATENCY, recipe, phase, best.cost and best.cost * (1.0 - MARGIN))
    return Score(recipe, phase)


def _certify(history: History, alone: Mapping[str, Recipe], best: Outcome, idle: int) -> Action:
    """Score the recipes that have one float layer of the best in int8 and are faster, the fastest first."""
    known = certificate(history, best.recipe)
    costs = {recipe: history.probes.get((LATENCY, recipe), math.inf) for recipe in alone.values()}
    for recipe in sorted(costs, key=lambda recipe: costs[recipe]):
        if (
            recipe not in history.scored
            and math.isfinite(costs[recipe])
            and idle < max(_REFUTED, history.patience or 0)
        ):
            return Score(recipe, "certify")
    if not known.layers:
        return Stop("every layer that may be int8 is, and the target holds")
    if known.complete:
        return Stop("no float layer makes the model faster in int8 and holds the target")
    return Stop(f"no better recipe in the last {idle} trials; {known} float layers are certified as needed")
