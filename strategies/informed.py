"""Our own sampler: draws recipes by what is known of each layer's sensitivity and gain."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .base import (
    INHERIT,
    WEIGHT_GRANULARITY,
    WEIGHT_SYMMETRY,
    Action,
    History,
    Outcome,
    Recipe,
    Score,
    Space,
    Stop,
)
from .calibrators import recalibrate
from .linear import Linear, posterior
from .recipes import (
    GLOBALS,
    Settings,
    activation_settings,
    compose,
    drop_of,
    floats_of,
    free_glue,
    holds,
    settings_of,
)
from .replay import Procedure, Unknown, distance, replay, score
from .sampling import informative, random
from .sensitivity import sensitivities

PATIENCE = 30
_DRAWS = 48
_CAP = 4.0
_SHARPNESS = 2.0
_AIM = 0.9
_JITTER = 0.5
_CHOOSY = 4.0
_UNSURE = 0.2
_NEAR = 6
_LOOKED_AT = 160
_TINY = 1e-9


@dataclass(frozen=True)
class Probed:
    """What the probes, and the trial of all layers in int8, tell before anything is drawn.

    Attributes:
        arms: Settings to draw from, the best first, and each one's distance at all-int8, relative to the best one's.
        sensitivity: Layer → its share of the summed distances (all sum to 1).
        whole: The drop of all layers in int8 under the first settings, as far as it is known.
        first: The trial of it.
    """

    arms: tuple[tuple[Settings, float], ...]
    sensitivity: Mapping[str, float]
    whole: float
    first: Outcome


@dataclass(frozen=True)
class Models:
    """What the trials add: the effect of each layer, glue type and rewrite on drop and cost.

    Attributes:
        names: Layers, glue types and rewrites, in the order of the rows' columns.
        layers: How many of them are layers.
        drop: Effects on the drop under the first settings; those of layers are multiplied by the settings' factor.
        cost: Effects on the cost; the last column is the constant one.
        factors: Of each arm: how much its drop exceeds that under the first settings.
        tried: Of each arm: how many of the trials were of it.
    """

    names: tuple[str, ...]
    layers: int
    drop: Linear
    cost: Linear
    factors: tuple[float, ...]
    tried: tuple[int, ...]


class Informed:
    """Draws from a distribution over recipes that follows from sensitivities, gains and all trials so far.

    1. Probes: every calibrator and symmetry at all-int8, and the other forms of weights; the best is scored. Where
       layers may have calibrators of their own and it misses the target, the probes choose some (`calibrators.py`).
       Then each layer's sensitivity.
    2. Two Bayesian linear models, of the drop and of the cost, start from these (a layer's effect on the drop is its
       sensitivity, its gain its share of the work) and learn from every trial.
    3. Settings are a bandit's arms: their factor of the drop is drawn from what is known of it (Thompson sampling).
       Each draw takes settings with a chance that falls with the fourth power of that, and puts layer i in float
       with the chance (λ·sᵢ)² / ((λ·sᵢ)² + gᵢ²), s its effect on the drop and g its gain: the relaxed form of
       choosing by λ in max Σ(gain − λ·sensitivity). λ is what makes the expected drop 0.9 of the target, by the
       models as they stand: it follows the frontier of what holds. Half of the draws change only a few layers of the
       best recipe that way. Where the clock counts, glue types and rewrites are turned by draws of their effect.
    4. Of 48 such draws the one is scored whose expected gain times its chance to hold is highest.

    Everything follows from the history. It ends when the cost cannot fall any further, after 30 trials without
    improvement where there is no budget, and with the budget.
    """

    name = "informed"

    def next(self, history: History) -> Action:
        """The next probe or draw."""
        try:
            probed = replay(_probe(history), history)
        except Unknown as missing:
            return missing.action
        space = history.space
        best = history.best
        if history.objective != "latency" and best is not None and not floats_of(space, best.recipe):
            return Stop("every layer that may be int8 is, and the target holds")
        if history.max_trials is None and _idle(history) >= (history.patience or PATIENCE):
            return Stop(f"no better recipe in the last {_idle(history)} trials")
        recipe = _draw(history, probed, _fit(history, probed)) or random(history)
        return Score(recipe, "search") if recipe else Stop("every recipe has been scored")


def _probe(history: History) -> Procedure[Probed]:
    space = history.space
    found = []
    for settings in activation_settings(space):
        found.append((yield from _screened(history, settings)))
    best = min(found, key=lambda entry: entry[1])
    for name in (WEIGHT_GRANULARITY, WEIGHT_SYMMETRY):
        for value in space.offered.get(name, ())[1:]:
            found.append((yield from _screened(history, {**best[0], name: value})))
    best = min(found, key=lambda entry: entry[1])
    outcome = yield from score(compose(space, best[0]), "screen")
    own = yield from recalibrate(history, outcome)
    if own.recipe != outcome.recipe:
        best = yield from _screened(history, settings_of(own.recipe))
        found.append(best)
    sensitivity = yield from sensitivities(history, best[0])
    total = sum(sensitivity.values()) or 1.0
    ground = max(best[1], _TINY)
    ranked = sorted(found, key=lambda entry: (entry[0] != best[0], entry[1]))
    arms = tuple((settings, max(value, _TINY) / ground) for settings, value in ranked if math.isfinite(value))
    whole = drop_of(own)
    whole = min(max(whole, 0.2 * history.target), _CAP * history.target) if math.isfinite(whole) else 2 * history.target
    shares = {name: value / total for name, value in sensitivity.items()}
    return Probed(arms or ((best[0], 1.0),), shares, whole, own)


def _screened(history: History, settings: Settings) -> Procedure[tuple[Settings, float]]:
    value = yield from distance(compose(history.space, settings), "screen")
    return settings, value


def _fit(history: History, probed: Probed) -> Models:
    """The two models, after at most 160 trials: the best and the latest."""
    space, target = history.space, history.target
    layers = space.free_layers
    names = (*layers, *free_glue(space), *space.rewrites)
    trials = [
        trial for trial in informative(history, list(history.trials), _LOOKED_AT) if math.isfinite(drop_of(trial))
    ]
    rows = np.array([_row(trial.recipe, names) for trial in trials], dtype=float).reshape(len(trials), len(names))
    arm_of = _arms_of(space, probed, trials)
    factors = [factor for _, factor in probed.arms]
    drops = np.array([min(drop_of(trial), _CAP * target) for trial in trials])
    doubt = np.array([0.3 if trial.state == "complete" else 0.6 for trial in trials]) * np.maximum(drops - target, 0.0)
    prior = np.zeros(len(names))
    prior[: len(layers)] = [probed.whole * probed.sensitivity.get(name, 0.0) for name in layers]
    spread = np.hypot(prior, 0.05 * target)
    drop = Linear(prior, np.diag(spread**2), 0.15 * target)
    for _ in range(2):  # effects given the factors, factors given the effects, effects again
        scale = np.array([factors[arm] if arm is not None else 1.0 for arm in arm_of])
        scaled = rows * np.where(np.arange(len(names)) < len(layers), scale[:, None], 1.0)
        drop = posterior(scaled, drops, prior, spread, 0.15 * target, doubt)
        factors = _corrected(probed, arm_of, drop.predict(rows)[0], drops, target)
    cost = _costs(history, names, len(layers), trials, rows)
    tried = tuple(arm_of.count(place) for place in range(len(probed.arms)))
    return Models(names, len(layers), drop, cost, tuple(factors), tried)


def _row(recipe: Recipe, names: Sequence[str]) -> list[bool]:
    return [recipe[name] in ("int8", "on") for name in names]


def _arms_of(space: Space, probed: Probed, trials: Sequence[Outcome]) -> list[int | None]:
    """Which settings each trial was scored with, None for others."""
    places = {_key(space, settings): place for place, (settings, _) in reversed(list(enumerate(probed.arms)))}
    return [places.get(_key(space, trial.recipe)) for trial in trials]


def _key(space: Space, settings: Settings) -> tuple[tuple[str, ...], bool]:
    """The global settings, and whether any layer has a calibrator of its own (which ones follows from the probes)."""
    own = any(settings.get(name, INHERIT) != INHERIT for name in space.calibrators)
    return tuple(settings.get(name, "") for name in GLOBALS), own


def _corrected(
    probed: Probed, arm_of: Sequence[int | None], predicted: np.ndarray, drops: np.ndarray, target: float
) -> list[float]:
    """The arms' factors: the ratio of distances, corrected by the ratio of drops as far as there were any."""
    found = []
    for place, (_, ratio) in enumerate(probed.arms):
        mine = np.array([arm == place for arm in arm_of], dtype=bool)
        told, expected = float(drops[mine].sum()), float(np.maximum(predicted[mine] * ratio, 0.0).sum())
        trust = 2.0 * target
        found.append(ratio * (min(max(told, 0.0), 1e3 * target) + trust) / (min(expected, 1e3 * target) + trust))
    return found


def _costs(history: History, names: Sequence[str], layers: int, trials: Sequence[Outcome], rows: np.ndarray) -> Linear:
    """What each choice does to the cost: at first a layer's share of the work, and nothing known of the others."""
    timed = history.objective == "latency"
    told = [place for place, trial in enumerate(trials) if trial.cost is not None]
    costs = np.array([trials[place].cost for place in told], dtype=float)
    shares = np.array([history.space.shares.get(name, 1.0 / max(1, layers)) for name in names[:layers]])
    prior, spread = np.zeros(len(names) + 1), np.full(len(names) + 1, 0.03 if timed else 1e-6)
    prior[:layers], prior[-1] = -(0.5 if timed else 0.9) * shares, 1.0
    spread[:layers], spread[-1] = shares, 0.1
    noise = 0.01 if timed else 1e-4
    doubt = np.array([trials[place].cost_noise for place in told]) * costs
    return posterior(np.hstack([rows[told], np.ones((len(told), 1))]), costs, prior, spread, noise, doubt)


def _draw(history: History, probed: Probed, models: Models) -> Recipe | None:
    """The draw of most expected gain times its chance to hold; None when all were scored before."""
    rng = np.random.default_rng([abs(history.seed), len(history.trials)])
    factors = np.array(models.factors) * np.exp(rng.normal(0.0, _UNSURE / np.sqrt(1.0 + np.array(models.tried))))
    weights = factors**-_CHOOSY
    weights /= weights.sum()
    effects = np.maximum(models.drop.mean[: models.layers], _TINY)
    gains = np.maximum(-models.cost.mean[: models.layers], _TINY)
    best = history.best
    pulls: dict[int, float] = {}
    drawn, arms = [], []
    for draw in range(_DRAWS):
        arm = int(rng.choice(len(weights), p=weights))
        if arm not in pulls:
            pulls[arm] = _pull(history, factors[arm] * effects, gains)
        chance = _chance(pulls[arm] * math.exp(rng.normal(0.0, _JITTER)), factors[arm] * effects, gains)
        flags = rng.random(models.layers) >= chance
        near = best is not None and draw % 2 == 1
        rest = _others(history, models, best if near else None, rng)
        if near and best is not None:
            kept = np.array(_row(best.recipe, models.names[: models.layers]), dtype=bool)
            changed = rng.choice(models.layers, size=min(models.layers, int(rng.integers(1, _NEAR))), replace=False)
            kept[changed] = flags[changed] if draw % 4 == 1 else ~kept[changed]
            flags = kept
            held = _arms_of(history.space, probed, [best])[0]
            arm = held if held is not None and draw % 8 != 7 else arm
        drawn.append(np.concatenate([flags, rest]))
        arms.append(arm)
    rows = np.array(drawn, dtype=float)
    scale = factors[arms]
    mean, deviation = models.drop.predict(
        rows * np.where(np.arange(len(models.names)) < models.layers, scale[:, None], 1.0)
    )
    cost, _ = models.cost.predict(np.hstack([rows, np.ones((len(rows), 1))]))
    ceiling = best.cost if best is not None and best.cost is not None else 1.0
    beyond = (mean - history.target) / (math.sqrt(2.0) * deviation)
    hope = np.array([0.5 * math.erfc(value) for value in beyond])
    worth = (ceiling - cost) * np.where(cost < ceiling, hope, _TINY)
    for place in sorted(range(len(rows)), key=lambda place: (-worth[place], place)):
        recipe = _recipe(history, probed.arms[arms[place]][0], models, drawn[place])
        if recipe not in history.scored:
            return recipe
    return None


def _pull(history: History, effects: np.ndarray, gains: np.ndarray) -> float:
    """λ: with it the expected drop is 0.9 of the target. By bisection of its logarithm."""
    low, high = -20.0, 40.0
    for _ in range(40):
        middle = 0.5 * (low + high)
        expected = float(((1.0 - _chance(math.exp(middle), effects, gains)) * effects).sum())
        low, high = (middle, high) if expected > _AIM * history.target else (low, middle)
    return math.exp(high)


def _chance(pull: float, effects: np.ndarray, gains: np.ndarray) -> np.ndarray:
    """Each layer's chance to be float."""
    odds: np.ndarray = (pull * effects / gains) ** _SHARPNESS
    return 1.0 - 1.0 / (1.0 + odds)


def _others(history: History, models: Models, best: Outcome | None, rng: np.random.Generator) -> np.ndarray:
    """Glue types in int8 and rewrites switched on: as in the best, or by one draw of each one's effect on the clock."""
    names = models.names[models.layers :]
    if history.objective != "latency":  # neither changes operations or bytes
        return np.array([history.space.offered[name][0] == "on" for name in names], dtype=bool)
    if best is not None and rng.random() < 0.5:
        return np.array(_row(best.recipe, names), dtype=bool)
    columns = slice(models.layers, len(models.names))
    spread = np.sqrt(np.maximum(np.diag(models.cost.covariance)[columns], 0.0))
    drawn: np.ndarray = rng.normal(models.cost.mean[columns], spread) < 0.0
    return drawn


def _recipe(history: History, settings: Settings, models: Models, flags: np.ndarray) -> Recipe:
    on = {name for name, flag in zip(models.names, flags, strict=True) if flag}
    space = history.space
    rewrites = {name: "on" if name in on else "off" for name in space.rewrites}
    floats = [name for name in space.free_layers if name not in on]
    return compose(space, {**settings, **rewrites}, floats=floats, glue=[name for name in space.ops if name in on])


def _idle(history: History) -> int:
    """Trials since the last one that was better than all before it."""
    count, cost = 0, math.inf
    for trial in history.trials:
        better = holds(history, trial) and trial.cost is not None and trial.cost < cost * (1.0 - trial.cost_noise)
        count, cost = (0, trial.cost or 0.0) if better else (count + 1, cost)
    return count
