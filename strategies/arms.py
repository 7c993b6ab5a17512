"""What probes and trials tell of settings, layers, glue and rewrites: two linear models, and the settings' factors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .base import History, Outcome, Recipe, Space
from .linear import Linear, posterior
from .recipes import GLOBALS, Settings, drop_of, free_glue
from .sampling import informative
from .words import INHERIT

_CAP = 4.0
_LOOKED_AT = 160


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


def fit(history: History, probed: Probed) -> Models:
    """The two models, after at most 160 trials: the best and the latest."""
    space, target = history.space, history.target
    layers = space.free_layers
    names = (*layers, *free_glue(space), *space.rewrites)
    trials = [
        trial for trial in informative(history, list(history.trials), _LOOKED_AT) if math.isfinite(drop_of(trial))
    ]
    rows = np.array([row_of(trial.recipe, names) for trial in trials], dtype=float).reshape(len(trials), len(names))
    arm_of = arms_of(space, probed, trials)
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


def row_of(recipe: Recipe, names: Sequence[str]) -> list[bool]:
    """Whether each is int8, or on."""
    return [recipe[name] in ("int8", "on") for name in names]


def arms_of(space: Space, probed: Probed, trials: Sequence[Outcome]) -> list[int | None]:
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
