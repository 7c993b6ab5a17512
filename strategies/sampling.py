"""Optuna's TPE on an in-memory study that mirrors the history."""

from __future__ import annotations

import math

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution
from optuna.samplers import RandomSampler, TPESampler
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from .base import History, Outcome, Recipe, Space
from .exhaustive import recipes
from .recipes import drop_of

_ATTEMPTS = 8
_FAR = 1e6
_NAME = "mirror"


class Sampling:
    """Draws recipes that were not tried yet.

    Between calls it keeps the mirrored trials, nothing that a decision depends on: the mirror is brought up to the
    history, or built anew where the history is another one.
    """

    def __init__(self) -> None:
        self._storage = _empty()
        self._mirrored: tuple[Outcome, ...] = ()
        self._offered: dict[str, tuple[str, ...]] = {}
        self._target = math.nan

    def tpe(self, history: History, salt: int = 0) -> Recipe | None:
        """A draw by multivariate TPE under the constraint drop ≤ target; None when every recipe was tried.

        Bergstra et al. 2011; Watanabe & Hutter 2023 for the constraint. The seed follows from the history's seed
        and its number of trials, so that a resumed study does not draw its start-up points again.

        Args:
            history: What is known.
            salt: Gives another draw from the same history.
        """
        rng = _rng(history, salt)
        distributions = _distributions(history.space)
        study = self._mirror(history, distributions)
        # Not constant_liar: it would write to the storage of a trial that exists nowhere.
        sampler = TPESampler(multivariate=True, constant_liar=False, seed=int(rng.integers(2**32)))
        pending = create_trial(state=TrialState.RUNNING)
        for _ in range(_ATTEMPTS if distributions else 0):
            drawn = sampler.sample_relative(study, pending, dict(distributions)) or _uniform(history.space, rng)
            recipe = history.space.canonical(drawn)
            if recipe not in history.scored:
                return recipe
        return _any_new(history, rng)

    def _mirror(self, history: History, distributions: dict[str, CategoricalDistribution]) -> optuna.Study:
        offered = {name: tuple(map(str, found.choices)) for name, found in distributions.items()}
        known = len(self._mirrored)
        same = offered == self._offered and self._target == history.target and history.trials[:known] == self._mirrored
        if not same:
            self._storage, known = _empty(), 0
        # A study object keeps the list of trials it has once sampled from; a new one is cheap.
        study = optuna.load_study(study_name=_NAME, storage=self._storage, sampler=RandomSampler(seed=0))
        fresh = [trial for trial in history.trials[known:] if _fits(trial, distributions)]
        study.add_trials([_frozen(trial, history.target, distributions) for trial in fresh])
        self._mirrored, self._offered, self._target = history.trials, offered, history.target
        return study


def random(history: History) -> Recipe | None:
    """A uniform draw that was not tried yet; None when every recipe was."""
    rng = _rng(history, 0)
    for _ in range(_ATTEMPTS):
        recipe = history.space.canonical(_uniform(history.space, rng))
        if recipe not in history.scored:
            return recipe
    return _any_new(history, rng)


def _rng(history: History, salt: int) -> np.random.Generator:
    return np.random.default_rng([abs(history.seed), len(history.trials), salt])


def _distributions(space: Space) -> dict[str, CategoricalDistribution]:
    return {name: CategoricalDistribution(values) for name, values in space.offered.items() if len(values) > 1}


def _uniform(space: Space, rng: np.random.Generator) -> dict[str, str]:
    return {name: values[int(rng.integers(len(values)))] for name, values in space.offered.items()}


def _empty() -> InMemoryStorage:
    storage = InMemoryStorage()
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # "A new study created" would be news to nobody
    try:
        storage.create_new_study([StudyDirection.MINIMIZE], _NAME)
    finally:
        optuna.logging.set_verbosity(verbosity)
    return storage


def _fits(trial: Outcome, distributions: dict[str, CategoricalDistribution]) -> bool:
    return trial.state != "failed" and all(
        trial.recipe.get(name) in distribution.choices for name, distribution in distributions.items()
    )


def _frozen(trial: Outcome, target: float, distributions: dict[str, CategoricalDistribution]) -> FrozenTrial:
    # A pruned trial has no cost, but its likely drop violates the constraint as its lower bound does, and among the
    # infeasible ones the sampler looks at the violation alone.
    drop = min(drop_of(trial), _FAR)
    return create_trial(
        value=trial.cost if trial.cost is not None else _FAR,
        params={name: trial.recipe[name] for name in distributions},
        distributions=dict(distributions),
        constraints={"drop": drop - target},
    )


def _any_new(history: History, rng: np.random.Generator) -> Recipe | None:
    """Any recipe not tried: ever more random changes of the best, then by enumeration where that is possible."""
    space = history.space
    free = [name for name, values in space.offered.items() if len(values) > 1]
    start = history.best.recipe if history.best else space.default()
    for changes in range(1, 33 if free else 1):
        picked = [free[int(index)] for index in rng.choice(len(free), size=min(changes, len(free)), replace=False)]
        drawn = _uniform(space, rng)
        recipe = space.canonical(start.replace({name: drawn[name] for name in picked}))
        if recipe not in history.scored:
            return recipe
    return next((recipe for recipe in recipes(space) if recipe not in history.scored), None)
