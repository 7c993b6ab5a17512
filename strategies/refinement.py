"""Around the best recipe found: 1-minimality first, then exchanges, then TPE over the joint space."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations

import numpy as np

from .base import LAYER, Action, History, Outcome, Probe, Recipe, Score, Space, Stop
from .glue import cheaper
from .pruning import singles
from .recipes import compose, floats_of, glue_of, settings_of
from .sampling import propose
from .sensitivity import known

PATIENCE = 20
_JOINT = "joint"
_EXCHANGE = "exchange"
_EXCHANGES = 6
_PROBED = 4
_GAIN = 0.002
_CHANGES = 4
_DRAWS = 4


def refine(history: History) -> Action:
    """The next action once the procedures of `auto` are through: a function of the history as it stands."""
    best = incumbent(history)
    if best is None:
        return _unmet(history)
    space = history.space
    floats = floats_of(space, best.recipe)
    if not floats and history.objective != "latency":
        return Stop("every layer that may be int8 is, and the target holds")
    sensitivity = known(history, settings_of(best.recipe))
    candidates = singles(history, best.recipe, sensitivity)
    if candidates:
        return Score(candidates[0], "prune")
    idle = since(history, best)
    if idle >= PATIENCE:
        needed = ", and each layer in float is needed" if floats else ""
        return Stop(f"no better recipe in the last {idle} trials{needed}")
    if sensitivity and floats and _tried(history, best, _EXCHANGE) < _EXCHANGES:
        action = _exchange(history, best, sensitivity)
        if action is not None:
            return action
    recipe = _joint(history, best)
    return Score(recipe, _JOINT) if recipe else Stop("every recipe has been scored")


def incumbent(history: History) -> Outcome | None:
    """The best feasible trial; a measured cost must beat an earlier one beyond the clock's noise."""
    if history.objective != "latency":
        return history.best
    best: Outcome | None = None
    for trial in history.trials:
        if history.feasible(trial) and trial.cost is not None and (best is None or cheaper(trial, best)):
            best = trial
    return best


def since(history: History, best: Outcome) -> int:
    """Trials after the last real improvement (by more than 0.2 % of the cost) up to the best one."""
    count, cost = 0, math.inf
    for trial in history.trials:
        improves = history.feasible(trial) and trial.cost is not None and trial.cost < cost * (1.0 - _GAIN)
        if improves and (history.objective != "latency" or trial.number <= best.number):
            count, cost = 0, trial.cost or 0.0
        else:
            count += 1
    return count


def _unmet(history: History) -> Action:
    """Nothing holds the target, not even single layers in the order of sensitivity: a last look by TPE."""
    tried = sum(trial.phase == _JOINT for trial in history.trials)
    recipe = propose(history, "tpe") if tried < PATIENCE else None
    if recipe is None:
        return Stop("no recipe with an int8 layer was found that holds the target")
    return Score(recipe, _JOINT)


def _tried(history: History, best: Outcome, phase: str) -> int:
    return sum(trial.phase == phase and trial.number > best.number for trial in history.trials)


def _exchange(history: History, best: Outcome, sensitivity: Mapping[str, float]) -> Action | None:
    """One or two fallbacks made int8 for one or two cheaper layers in float, the predicted distance not above.

    The most promising few are probed; the one of least distance is scored, if it is not above the best's own.
    """
    space = history.space
    own = history.probes.get(("distance", best.recipe))
    if own is None:
        return Probe("distance", best.recipe, _EXCHANGE)
    candidates = _exchanges(space, best.recipe, sensitivity)
    fresh = [recipe for recipe in candidates if recipe not in history.scored][:_PROBED]
    for recipe in fresh:
        if ("distance", recipe) not in history.probes:
            return Probe("distance", recipe, _EXCHANGE)
    if not fresh:
        return None
    nearest = min(fresh, key=lambda recipe: history.probes["distance", recipe])
    return Score(nearest, _EXCHANGE) if history.probes["distance", nearest] <= own else None


def _exchanges(space: Space, recipe: Recipe, sensitivity: Mapping[str, float]) -> list[Recipe]:
    """Exchanges that lower the cost, by their predicted change of distance per gain."""
    floats = floats_of(space, recipe)
    settings, glue = settings_of(recipe), glue_of(space, recipe)
    integers = sorted(
        (name for name in space.free_layers if name not in floats), key=lambda name: -_ratio(space, sensitivity, name)
    )[:12]
    outs = [chosen for size in (1, 2) for chosen in combinations(floats[:24], size)]
    ins = [chosen for size in (1, 2) for chosen in combinations(integers, size)]
    found = []
    for out in outs:
        for into in ins:
            gain = sum(space.shares.get(name, 0.0) for name in out) - sum(space.shares.get(name, 0.0) for name in into)
            worse = sum(sensitivity[name] for name in out) - sum(sensitivity[name] for name in into)
            if gain > _GAIN:
                found.append((worse / gain if worse > 0 else worse, out, into))
    found.sort()
    return [
        compose(space, settings, floats=set(floats).difference(out).union(into), glue=glue)
        for _, out, into in found[:64]
    ]


def _ratio(space: Space, sensitivity: Mapping[str, float], name: str) -> float:
    return sensitivity[name] / max(space.shares.get(name, 0.0), 1e-6)


def _joint(history: History, best: Outcome) -> Recipe | None:
    """A TPE proposal, drawn near the best: few of its differences are taken over, and the cost must not be higher.

    In a space of dozens of layers an unrestricted draw differs from the best in a third of them, and hardly ever
    holds the target at a lower cost.
    """
    space = history.space
    rng = np.random.default_rng([history.seed, len(history.trials)])
    proposal: Recipe | None = None
    for draw in range(_DRAWS):
        proposal = propose(history, "tpe", phase_salt=draw + 1)
        if proposal is None:
            return None
        differences = [name for name in proposal if proposal[name] != best.recipe[name]]
        for _ in range(8):
            size = int(rng.integers(1, min(_CHANGES, len(differences)) + 1))
            picked = [str(name) for name in rng.choice(differences, size=size, replace=False)]
            recipe = space.canonical(best.recipe.replace({name: proposal[name] for name in picked}))
            if recipe not in history.scored and (
                history.objective == "latency" or _cheaper(space, recipe, best.recipe)
            ):
                return recipe
    return proposal


def _cheaper(space: Space, recipe: Recipe, best: Recipe) -> bool:
    """Whether a recipe leaves less in float than the best, by the shares."""
    return _float_share(space, recipe) < _float_share(space, best) - _GAIN / 2


def _float_share(space: Space, recipe: Recipe) -> float:
    return sum(share for name, share in space.shares.items() if name.startswith(LAYER) and recipe[name] != "int8")
