"""Optuna's view of a history: its trials, held in memory as they are, for samplers to look at."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from datetime import datetime
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from .base import Outcome, Space
from .recipes import drop_of

FAR = 1e6
"""Stands for a number that is not known and surely no good one."""
_NAME = "mirror"
_NEVER = datetime(2000, 1, 1)


class Mirror(InMemoryStorage):
    """A storage whose trials are those it is given: nothing is copied, and nothing written to a trial.

    Optuna's own takes a copy of every parameter of every trial, half a second for a thousand trials of a hundred.

    Attributes:
        held: The trials.
    """

    def __init__(self, objectives: int = 1) -> None:
        super().__init__()
        self.held: Sequence[FrozenTrial] = ()
        verbosity = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # "A new study created" would be news to nobody
        try:
            self.create_new_study([StudyDirection.MINIMIZE] * objectives, _NAME)
        finally:
            optuna.logging.set_verbosity(verbosity)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """The trials held, in their order."""
        return [trial for trial in self.held if states is None or trial.state in states]

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Forget what a sampler notes on the trial it is asked for: that trial exists nowhere."""

    def study(self) -> optuna.Study:
        """A study object, which keeps the list of trials it has once sampled from: take a new one for each draw."""
        return optuna.load_study(study_name=_NAME, storage=self, sampler=RandomSampler(seed=0))


def distributions_of(space: Space) -> dict[str, CategoricalDistribution]:
    """Optuna's distribution of every parameter that leaves a choice."""
    cached: dict[tuple[str, ...], CategoricalDistribution] = {}
    found = {}
    for name, values in space.offered.items():
        if len(values) > 1:
            found[name] = cached.setdefault(values, CategoricalDistribution(values))
    return found


def usable(trials: Sequence[Outcome], distributions: Mapping[str, CategoricalDistribution]) -> list[Outcome]:
    """The trials that a sampler can learn from: not failed, and within the space."""
    return [
        trial
        for trial in trials
        if trial.state != "failed"
        and all(trial.recipe.get(name) in distribution.choices for name, distribution in distributions.items())
    ]


def frozen(
    trial: Outcome,
    place: int,
    target: float,
    distributions: Mapping[str, CategoricalDistribution],
    *,
    unknown: float = FAR,
    multiple: bool = False,
    notes: Mapping[str, Any] | None = None,
) -> FrozenTrial:
    """A told trial as Optuna has it: the cost, and drop ≤ target as its constraint.

    Args:
        trial: What was told.
        place: Its number among those that the sampler sees.
        target: The tolerated drop.
        distributions: The parameters that leave a choice.
        unknown: The cost of a pruned trial, which has none; its likely drop violates the constraint.
        multiple: Two objectives, cost and drop.
        notes: System attributes.
    """
    drop = min(drop_of(trial), FAR)
    cost = trial.cost if trial.cost is not None and math.isfinite(trial.cost) else unknown
    return FrozenTrial(
        number=place,
        trial_id=place,
        state=TrialState.COMPLETE,
        value=None if multiple else cost,
        values=[cost, drop] if multiple else None,
        datetime_start=_NEVER,
        datetime_complete=_NEVER,
        params={name: trial.recipe[name] for name in distributions},
        distributions=dict(distributions),
        user_attrs={},
        system_attrs={"constraints:drop": drop - target, **(notes or {})},
        intermediate_values={},
    )


def pending(place: int, notes: Mapping[str, Any] | None = None) -> FrozenTrial:
    """The trial that is asked for."""
    return FrozenTrial(
        number=place,
        trial_id=place,
        state=TrialState.RUNNING,
        value=None,
        datetime_start=_NEVER,
        datetime_complete=None,
        params={},
        distributions={},
        user_attrs={},
        system_attrs=dict(notes or {}),
        intermediate_values={},
    )


def sampled(
    sampler: BaseSampler, mirror: Mirror, trial: FrozenTrial, distributions: Mapping[str, CategoricalDistribution]
) -> dict[str, str]:
    """One draw of a sampler: its choices, of which some or all may be missing where it leaves them to chance."""
    drawn = sampler.sample_relative(mirror.study(), trial, dict(distributions))
    return {name: str(value) for name, value in drawn.items()}
