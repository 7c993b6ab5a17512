"""A Bayesian linear model of the drop: the probes are its prior, the trials its observations.

drop(recipe) = Σ over int8 layers and glue types of an effect + noise. An effect's prior mean is its probed distance
times the drop per distance of the all-int8 trial. How far a probe can be trusted, which sees the outputs and not the
metric, and how noisy the metric is between recipes, are chosen by the evidence; the posterior is the usual conjugate
one (Bishop, Pattern Recognition and Machine Learning, 2006, §3.3 and §3.5).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from .base import History, Recipe
from .linear import posterior
from .pruning import drop_rate
from .recipes import Settings, drop_of, int8_in, under

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
        return self.chance_of(int8_in(recipe))

    def chance_of(self, on: Collection[str]) -> float:
        """The same of the recipe with these layers and glue types in int8."""
        places = np.array([index for name, index in self.place.items() if name in on], dtype=int)
        variance = float(self.covariance[np.ix_(places, places)].sum()) + self.noise**2
        return 0.5 * math.erfc((float(self.mean[places].sum()) - self.target) / math.sqrt(2.0 * variance))


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
    trials = [trial for trial in under(history, settings) if math.isfinite(drop_of(trial))]
    if len(trials) > _LOOKED_AT:  # those nearest the target say most about it
        nearest = sorted(trials, key=lambda trial: (abs(drop_of(trial) - target), -trial.number))[:_LOOKED_AT]
        trials = sorted(nearest, key=lambda trial: trial.number)
    chosen = [int8_in(trial.recipe) for trial in trials]
    rows = np.array([[name in on for name in names] for on in chosen], dtype=float).reshape(len(trials), len(names))
    drops = np.array([min(drop_of(trial), _CAP * target) for trial in trials])
    # Far beyond the target effects do not add up, and such trials say little about those near it; a pruned one was
    # stopped when it looked bad, on a part of the samples.
    trust = np.array([0.3 if trial.state == "complete" else 0.6 for trial in trials])
    beyond = trust * np.maximum(drops - target, 0.0)
    residual = drops - np.einsum("ij,j->i", rows, prior)
    # A spread scales the prior covariance of the observations, all of which is computed once.
    widths = np.hypot(prior, _FLOOR * target)
    explained = np.einsum("ij,kj->ik", rows * widths**2, rows)
    fits = []
    for scale in _SPREADS:
        for part in _NOISES:
            deviations = part * target + beyond
            fits.append((_evidence(scale**2 * explained, deviations, residual), scale, part * target))
    _, scale, noise = max(fits, key=lambda fitted: fitted[0])
    found = posterior(rows, drops, prior, scale * widths, 0.0, noise + beyond)
    place = {name: index for index, name in enumerate(names)}
    return DropModel(place, found.mean, found.covariance, noise, target)


def _evidence(explained: np.ndarray, deviations: np.ndarray, residual: np.ndarray) -> float:
    """Logarithm of a residual's density under N(0, explained + diag(deviations²)), but for a constant.

    By one Cholesky factorization, with the residual as the last row: there it becomes what its squared Mahalanobis
    length is the sum of squares of.
    """
    count = len(residual)
    joint = np.empty((count + 1, count + 1))
    joint[:count, :count] = explained + np.diag(deviations**2)
    joint[count, :count] = joint[:count, count] = residual
    joint[count, count] = 1.0 + 2.0 * float((residual**2).sum()) / float((deviations**2).min(initial=1.0))
    factor = np.linalg.cholesky(joint)
    diagonal = np.diagonal(factor)[:count]
    return -0.5 * float((factor[count, :count] ** 2).sum()) - float(np.log(diagonal).sum())
