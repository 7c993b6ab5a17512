"""Draws of recipes that follow the frontier of what holds: settings as a bandit's arms, layers by effect and gain."""

from __future__ import annotations

import math

import numpy as np

from .arms import Models, Probed, arms_of, row_of
from .base import History, Outcome, Recipe
from .recipes import Settings, compose

_DRAWS = 48
_SHARPNESS = 2.0
_AIM = 0.9
_JITTER = 0.5
_CHOOSY = 4.0
_UNSURE = 0.2
_NEAR = 6
_TINY = 1e-9


def best_draw(history: History, probed: Probed, models: Models) -> Recipe | None:
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
            kept = np.array(row_of(best.recipe, models.names[: models.layers]), dtype=bool)
            changed = rng.choice(models.layers, size=min(models.layers, int(rng.integers(1, _NEAR))), replace=False)
            kept[changed] = flags[changed] if draw % 4 == 1 else ~kept[changed]
            flags = kept
            held = arms_of(history.space, probed, [best])[0]
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
        return np.array(row_of(best.recipe, names), dtype=bool)
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
