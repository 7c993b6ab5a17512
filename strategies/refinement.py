"""Around the best recipe found: 1-minimality first, then exchanges, then TPE over the joint space."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

import numpy as np

from .base import Action, History, Outcome, Recipe, Score, Space, Stop
from .dropmodel import DropModel, fit
from .pruning import singles
from .recipes import Settings, activation_settings, compose, floats_of, glue_of, int8_in, settings_of
from .sampling import Sampling
from .sensitivity import known, order
from .words import ACTIVATION_SYMMETRY, CALIBRATOR, LAYER

PATIENCE = 20
_NEAR = 0.02
_JOINT = "joint"
_EXCHANGE = "exchange"
_EXCHANGES = 6
_LITTLE = 0.1
_LOOKED_AT = 48
_OUT = _IN = 12
_SMALL = 1e-6
_SETTINGS = 3
_AS_GOOD = 1.5
_GAIN = 0.002
_CHANGES = 4
_DRAWS = 4


def refine(history: History, sampling: Sampling) -> Action:
    """The next action once the procedures of `auto` are through: a function of the history as it stands."""
    best = history.best
    if best is None:
        return unmet(history, sampling)
    space = history.space
    floats = floats_of(space, best.recipe)
    if not floats:
        return Stop("every layer that may be int8 is, and the target holds")
    sensitivity = known(history, settings_of(best.recipe))
    likely, unlikely = singles(history, best, sensitivity)
    idle = since(history)
    patience = history.patience or PATIENCE
    near = _near(history, best)
    # A budget's last trials are for the proof that every fallback is needed.
    left = math.inf if history.max_trials is None else history.max_trials - len(history.trials)
    if not near and not likely and left > len(unlikely) and idle < patience and _tried(history, best) < _EXCHANGES:
        model = fit(history, settings_of(best.recipe), sensitivity)
        recipe = (_exchange(history, best, model)[0] if model else None) or _elsewhere(history, best, sensitivity)
        if recipe is not None:
            return Score(recipe, _EXCHANGE)
    if likely or unlikely:
        return Score((likely + unlikely)[0], "prune")
    needed = ", and none of the float layers can be int8 again by itself"
    if near:
        return Stop(f"within 2 % of the cost of all layers in int8{needed}")
    if idle >= patience:
        return Stop(f"no better recipe in the last {idle} trials{needed}")
    if history.patience is None and idle >= PATIENCE // 2 and _little(history, best, sensitivity):
        return Stop(f"no better recipe in the last {idle} trials, and little is expected of more{needed}")
    recipe = _joint(history, best, sampling)
    return Score(recipe, _JOINT) if recipe else Stop("every recipe has been scored")


def _near(history: History, best: Outcome) -> bool:
    """Whether the cost is so near that of all layers in int8 that trials are worth more than what is left."""
    if best.cost is None:
        return False
    every = frozenset(history.space.free_layers)
    whole = [trial.cost for trial in history.trials if trial.cost and every <= int8_in(trial.recipe)]
    return bool(whole) and best.cost <= (1.0 + _NEAR) * min(whole)


def since(history: History) -> int:
    """Trials after the last real improvement (by more than 0.2 % of the cost)."""
    count, cost = 0, math.inf
    for trial in history.trials:
        improves = history.feasible(trial) and trial.cost is not None and trial.cost < cost * (1.0 - _GAIN)
        if improves:
            count, cost = 0, trial.cost or 0.0
        else:
            count += 1
    return count


def unmet(history: History, sampling: Sampling) -> Action:
    """Nothing holds the target, not even single layers in the order of sensitivity: a last look by TPE."""
    tried = sum(trial.phase == _JOINT for trial in history.trials)
    recipe = sampling.tpe(history) if tried < (history.patience or PATIENCE) else None
    if recipe is None:
        return Stop("no recipe with an int8 layer was found that holds the target")
    return Score(recipe, _JOINT)


def _tried(history: History, best: Outcome) -> int:
    return sum(trial.phase == _EXCHANGE and trial.number > best.number for trial in history.trials)


def _little(history: History, best: Outcome, sensitivity: Mapping[str, float]) -> bool:
    """Whether the most promising change is expected to gain less than what counts as an improvement."""
    model = fit(history, settings_of(best.recipe), sensitivity)
    return model is not None and _exchange(history, best, model)[1] < _GAIN * (best.cost or 1.0)


def _exchange(history: History, best: Outcome, model: DropModel) -> tuple[Recipe | None, float]:
    """Fallbacks made int8, layers of lower cost in float for them: the most gain times the chance to hold.

    Returns:
        The recipe, None when even the best has little chance, and that product.
    """
    space = history.space
    settings, glue = settings_of(best.recipe), glue_of(space, best.recipe)
    floats = floats_of(space, best.recipe)
    effect = {name: float(model.mean[index]) for name, index in model.place.items()}
    share = {name: space.shares.get(name, 0.0) for name in space.free_layers}
    outs = sorted(floats, key=lambda name: effect[name] / max(share[name], _SMALL))[:_OUT]
    ins = sorted(set(share).difference(floats), key=lambda name: -effect[name] / max(share[name], _SMALL))[:_IN]
    least = _GAIN * (best.cost or 1.0)

    def summed(chosen: list[tuple[str, ...]], of: Mapping[str, float]) -> np.ndarray:
        return np.array([sum(of[name] for name in names) for names in chosen])

    leaving, taken = _upto(2, outs), [(), *_upto(2, ins)]
    gains = summed(leaving, share)[:, None] - summed(taken, share)
    caused = summed(leaving, effect)[:, None] - summed(taken, effect)
    worths = np.where(gains > least, gains / (1.0 + np.exp(np.minimum(50.0, caused / model.noise))), -math.inf)
    on = int8_in(best.recipe)
    found, value = None, 0.0
    for one, other in _largest(worths, _LOOKED_AT, lambda place: (leaving[place[0]], taken[place[1]])):
        out, into, gain = leaving[one], taken[other], float(gains[one, other])
        chance = model.chance_of(on.union(out).difference(into))
        if chance >= _LITTLE and chance * gain > value:
            recipe = compose(space, settings, floats=set(floats).difference(out).union(into), glue=glue)
            if recipe not in history.scored:
                found, value = recipe, chance * gain
    return found, value


def _largest(
    values: np.ndarray, count: int, then: Callable[[tuple[int, int]], tuple[tuple[str, ...], ...]]
) -> list[tuple[int, int]]:
    """Row and column of the largest finite values, the largest first, equal ones in the order of `then`."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return []
    least = np.partition(finite, -min(count, finite.size))[-min(count, finite.size)]
    places = [(int(row), int(column)) for row, column in np.argwhere(values >= least)]
    return sorted(places, key=lambda place: (-values[place], then(place)))[:count]


def _elsewhere(history: History, best: Outcome, sensitivity: Mapping[str, float]) -> Recipe | None:
    """The best's fallbacks but the least needed, under the other settings that looked as good at all-int8."""
    space = history.space
    floats, glue, own = floats_of(space, best.recipe), glue_of(space, best.recipe), settings_of(best.recipe)
    if not floats:
        return None
    probed = [  # the best one's corrections, rewrites and layers' calibrators go along
        (history.probes.get(("distance", compose(space, settings)), math.inf), place, {**own, **_activations(settings)})
        for place, settings in enumerate(activation_settings(space))
    ]
    reach = _AS_GOOD * min(value for value, _, _ in probed)
    fewer = order(space, sensitivity, floats)[:-1]
    for value, _, settings in sorted(probed, key=lambda entry: entry[:2])[:_SETTINGS]:
        recipe = compose(space, settings, floats=fewer, glue=glue)
        if settings != own and value <= reach and value < math.inf and recipe not in history.scored:
            return recipe
    return None


def _activations(settings: Settings) -> Settings:
    return {name: settings[name] for name in (CALIBRATOR, ACTIVATION_SYMMETRY) if name in settings}


def _upto(size: int, names: Sequence[str]) -> list[tuple[str, ...]]:
    return [chosen for count in range(1, size + 1) for chosen in combinations(names, count)]


def _joint(history: History, best: Outcome, sampling: Sampling) -> Recipe | None:
    """A TPE proposal near the best: few of its differences are taken over, and as many fallbacks back as it takes.

    In a space of dozens of layers an unrestricted draw differs from the best in a third of them, and hardly ever
    holds the target at a lower cost.
    """
    space = history.space
    rng = np.random.default_rng([abs(history.seed), len(history.trials)])
    proposal: Recipe | None = None
    for draw in range(_DRAWS):
        proposal = sampling.tpe(history, salt=draw + 1)
        if proposal is None:
            return None
        differences = [name for name in proposal if proposal[name] != best.recipe[name]]
        for _ in range(_DRAWS):
            size = int(rng.integers(1, min(_CHANGES, len(differences)) + 1))
            changes = {name: proposal[name] for name in _picked(rng, differences, size)}
            recipe = space.canonical(best.recipe.replace(changes))
            recipe = _made_cheaper(space, recipe, best.recipe, rng)
            if recipe not in history.scored:
                return recipe
    return proposal


def _made_cheaper(space: Space, recipe: Recipe, best: Recipe, rng: np.random.Generator) -> Recipe:
    """The recipe with fallbacks made int8, in random order, until less is in float than in the best."""
    limit = _float_share(space, best) - _GAIN / 2
    floats = floats_of(space, recipe)
    for name in _picked(rng, floats, len(floats)):
        if _float_share(space, recipe) < limit:
            break
        recipe = space.canonical(recipe.replace({name: "int8"}))
    return recipe


def _picked(rng: np.random.Generator, names: Sequence[str], size: int) -> list[str]:
    return [names[int(index)] for index in rng.choice(len(names), size=size, replace=False)] if size else []


def _float_share(space: Space, recipe: Recipe) -> float:
    return sum(share for name, share in space.shares.items() if name.startswith(LAYER) and recipe[name] != "int8")
