"""Optuna's samplers on an in-memory study that mirrors the history."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution
from optuna.samplers import RandomSampler, TPESampler
from optuna.trial import FrozenTrial, create_trial

from .base import History, Outcome, Recipe
from .exhaustive import recipes

_ATTEMPTS = 8
_SEED_STRIDE = 1_000_003
_FAR = 1e6


def propose(history: History, kind: Literal["tpe", "random"], *, phase_salt: int = 0) -> Recipe | None:
    """A canonical recipe not tried yet, by an Optuna sampler; None when every recipe has been.

    The sampler is multivariate TPE under the constraint drop ≤ target (Bergstra et al. 2011; Watanabe & Hutter
    2023), or uniform. Its seed follows from the history's seed and its number of trials, so that a resumed study
    does not draw the start-up points again.

    Args:
        history: What is known.
        kind: `tpe` or `random`.
        phase_salt: Separates the random streams of different callers.
    """
    space = history.space
    distributions: dict[str, CategoricalDistribution] = {
        name: CategoricalDistribution(values) for name, values in space.offered.items() if len(values) > 1
    }
    count = len(history.trials)
    seed = (history.seed * _SEED_STRIDE + count * 7919 + phase_salt * 104_729) % (2**32)
    if distributions:
        study = _mirror(history, distributions) if kind == "tpe" else _study()
        study.sampler = (
            TPESampler(multivariate=True, group=False, seed=seed) if kind == "tpe" else RandomSampler(seed=seed)
        )
        for _ in range(_ATTEMPTS):
            # Left running, the trial makes TPE keep away from what it has just drawn (constant liar).
            recipe = space.canonical(study.ask(dict(distributions)).params)
            if recipe not in history.scored:
                return recipe
    return _any_new(history, np.random.default_rng(seed))


def _study() -> optuna.Study:
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study(direction="minimize", sampler=RandomSampler(seed=0))
    finally:
        optuna.logging.set_verbosity(verbosity)


def _mirror(history: History, distributions: dict[str, CategoricalDistribution]) -> optuna.Study:
    study = _study()
    fitting = [
        trial
        for trial in history.trials
        if trial.state != "failed"
        and all(trial.recipe.get(name) in distribution.choices for name, distribution in distributions.items())
    ]
    study.add_trials([_frozen(trial, history.target, distributions) for trial in fitting])
    return study


def _frozen(trial: Outcome, target: float, distributions: dict[str, CategoricalDistribution]) -> FrozenTrial:
    # A pruned trial has no cost, but its lower bound of the drop already violates the constraint, and among the
    # infeasible ones the sampler looks at the violation alone.
    drop = trial.drop if trial.drop is not None and math.isfinite(trial.drop) else _FAR
    return create_trial(
        value=trial.cost if trial.cost is not None else _FAR,
        params={name: trial.recipe[name] for name in distributions},
        distributions=dict(distributions),
        constraints={"drop": drop - target},
    )


def _any_new(history: History, rng: np.random.Generator) -> Recipe | None:
    """Any recipe not tried: a few random flips away from tried ones, then by enumeration where that is possible."""
    space = history.space
    free = [name for name, values in space.offered.items() if len(values) > 1]
    start = history.best.recipe if history.best else space.default()
    for flips in range(1, 33):
        changed = dict(start)
        for name in rng.choice(free, size=min(flips, len(free)), replace=False) if free else ():
            changed[str(name)] = str(rng.choice(space.offered[str(name)]))
        recipe = space.canonical(changed)
        if recipe not in history.scored:
            return recipe
    return next((recipe for recipe in recipes(space) if recipe not in history.scored), None)
