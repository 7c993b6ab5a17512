"""A Bayesian linear model of the drop: the probes are its prior, the trials its observations.

drop(recipe) = Σ over int8 layers and glue types of an effect + noise. An effect's prior mean is its probed distance
times the drop per distance of the all-int8 trial. How far a probe can be trusted, which sees the outputs and not the
metric, and how noisy the metric is between recipes, are chosen by the evidence; the posterior is the usual conjugate
one (Bishop, Pattern Recognition and Machine Learning, 2006, §3.3 and §3.5).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .base import History, Recipe
from .pruning import drop_rate
from .recipes import Settings, drop_of, int8_in, settings_of

_SPREADS = (0.25, 0.5, 1.0, 2.0)
_NOISES = (0.03, 0.1, 0.2, 0.4)
_FLOOR = 0.1
_LOOKED_AT = 120
_CAP = 4.0


@dataclass(frozen=True)
class DropModel:
    """The posterior of the effects under one choice of the global settings.

    Attributes:
        place: Parameter (`layer/…`, `op/…`) → its index.
        mean: Posterior mean of the effects, float64 [n], in the target's unit.
        covariance: Their posterior covariance, float64 [n, n].
        noise: Standard deviation of the metric between recipes, in the target's unit.
        target: The tolerated drop.
    """

    place: Mapping[str, int]
    mean: np.ndarray
    covariance: np.ndarray
    noise: float
    target: float

    def chance(self, recipe: Recipe) -> float:
        """Probability that a recipe under these settings holds the target."""
        row = np.array([recipe[name] == "int8" for name in self.place], dtype=float)
        variance = float(row @ self.covariance @ row) + self.noise**2
        return 0.5 * math.erfc((float(row @ self.mean) - self.target) / math.sqrt(2.0 * variance))


def fit(
    history: History, settings: Settings, sensitivity: Mapping[str, float], rate: float | None = None
) -> DropModel | None:
    """The model for recipes under these settings; None without sensitivities or a drop to scale them by.

    Args:
        history: What is known.
        settings: Of the recipes.
        sensitivity: Layer or glue type → distance it causes.
        rate: Drop per distance, None for that of the all-int8 trial.
    """
    rate = drop_rate(history, settings) if rate is None else rate
    if not sensitivity or rate is None:
        return None
    space, target = history.space, history.target
    names = (*space.free_layers, *space.ops)
    prior = np.array([rate * sensitivity.get(name, 0.0) for name in names])
    trials = [
        trial
        for trial in history.trials
        if math.isfinite(drop_of(trial)) and settings_of(trial.recipe) == dict(settings)
    ]
    if len(trials) > _LOOKED_AT:  # those nearest the target say most about it
        nearest = sorted(trials, key=lambda trial: (abs(drop_of(trial) - target), -trial.number))[:_LOOKED_AT]
        trials = sorted(nearest, key=lambda trial: trial.number)
    rows = np.array([[name in int8_in(trial.recipe) for name in names] for trial in trials], dtype=float)
    drops = np.array([min(drop_of(trial), _CAP * target) for trial in trials])
    # Far beyond the target effects do not add up, and such trials say little about those near it; a pruned one was
    # stopped when it looked bad, on a part of the samples.
    trust = np.array([0.3 if trial.state == "complete" else 0.6 for trial in trials])
    beyond = trust * np.maximum(drops - target, 0.0)
    residual = drops - rows @ prior
    fits = []
    for scale in _SPREADS:
        variances = np.hypot(scale * prior, _FLOOR * scale * target) ** 2
        explained = (rows * variances) @ rows.T
        for part in _NOISES:
            total = explained + np.diag((part * target + beyond) ** 2)
            evidence = -0.5 * float(residual @ np.linalg.solve(total, residual)) - 0.5 * float(
                np.linalg.slogdet(total)[1]
            )
            fits.append((evidence, part * target, variances, total))
    _, noise, variances, total = max(fits, key=lambda fitted: fitted[0])
    weights = np.linalg.solve(total, rows * variances).T
    mean = prior + weights @ residual
    covariance = np.diag(variances) - weights @ (rows * variances)
    return DropModel({name: index for index, name in enumerate(names)}, mean, covariance, noise, target)
