"""Optuna's samplers on an in-memory study that mirrors the history: multivariate TPE, NSGA-II, Gaussian process."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
from optuna.distributions import CategoricalDistribution
from optuna.samplers import BaseSampler, NSGAIISampler, TPESampler
from optuna.trial import FrozenTrial

from .base import History, Outcome, Recipe, Space
from .exhaustive import recipes
from .mirror import FAR, Mirror, distributions_of, frozen, pending, sampled, usable
from .recipes import drop_of

POPULATION = 20
"""Of NSGA-II. Optuna's 50 would be a quarter of a usual budget for the random first generation alone."""
LOOKED_AT, BEST = 300, 60
"""Of more trials than that TPE and the Gaussian process see the best few and the latest."""
_ATTEMPTS = 8
_FLOAT = 1.0
_GENERATION = NSGAIISampler._get_generation_key()


class Sampling:
    """Draws recipes that were not tried yet.

    Between calls it keeps what it made of the trials, nothing that a decision depends on: for another space or target
    it is made anew.
    """

    def __init__(self) -> None:
        self._space: Space | None = None
        self._target, self._pareto = math.nan, False
        self._distributions: dict[str, CategoricalDistribution] = {}
        self._frozen: dict[tuple[Outcome, float], FrozenTrial] = {}
        self._seen: tuple[Outcome, ...] = ()
        self._fitting: list[Outcome] = []
        self._population: list[Outcome] = []
        self._generations: list[FrozenTrial] = []
        self._mirrors = {1: Mirror(), 2: Mirror(2)}

    def tpe(self, history: History, salt: int = 0) -> Recipe | None:
        """A draw by multivariate TPE under the constraint drop ≤ target; None when every recipe was tried.

        Bergstra et al. 2011; Watanabe & Hutter 2023 for the constraint. The seed follows from the history's seed
        and its number of trials, so that a resumed study does not draw its start-up points again. Of more than 300
        trials it sees the 60 best and the latest ones: the good ones are what its good density is made of (25 at
        most), and a part of the others gives the same bad density.

        Args:
            history: What is known.
            salt: Gives another draw from the same history.
        """
        # Not constant_liar: it would write to the storage of a trial that exists nowhere.
        return self._single(history, salt, partial(TPESampler, multivariate=True, constant_liar=False))

    def gp(self, history: History) -> Recipe | None:
        """A draw by Optuna's Gaussian process with a constrained expected improvement; needs torch.

        It sees trials as TPE does. A pruned trial counts as costing as much as the float model.
        """
        from optuna.samplers import GPSampler

        return self._single(history, 0, partial(GPSampler, warn_independent_sampling=False), unknown=_FLOAT)

    def nsga2(self, history: History) -> Recipe | None:
        """A draw by NSGA-II: cost and drop as objectives, in generations of 20, in the order the trials were told.

        Deb et al. 2002, with constrained domination by drop ≤ target unless the whole front is asked for. The first
        generation is drawn uniformly. A pruned trial counts as costing as much as the float model.
        """
        self._follow(history)
        trials = self._usable(history)
        known = self._population
        if known != trials[: len(known)]:
            self._mirrors[2] = Mirror(2)
            known = []
        for place in range(len(known), len(trials)):
            notes = {_GENERATION: place // POPULATION}
            made = frozen(
                trials[place], place, history.target, self._distributions, unknown=_FLOAT, multiple=True, notes=notes
            )
            if history.pareto:
                made.system_attrs.pop("constraints:drop")
            self._generations[place : place + 1] = [made]
        del self._generations[len(trials) :]
        self._population = trials
        self._mirrors[2].held = self._generations
        generation = len(trials) // POPULATION
        # The sampler gives parents in one order when it selects them and in another when it has kept them.
        study = self._mirrors[2].study()
        for earlier in range(1, generation + 1):
            NSGAIISampler(population_size=POPULATION).get_parent_population(study, earlier)
        make = partial(NSGAIISampler, population_size=POPULATION)
        return self._draw(history, 0, make, self._mirrors[2], pending(len(trials), {_GENERATION: generation}))

    def _single(
        self, history: History, salt: int, make: Callable[..., BaseSampler], unknown: float = FAR
    ) -> Recipe | None:
        self._follow(history)
        trials = informative(history, self._usable(history))
        held = []
        for place, trial in enumerate(trials):
            made = self._frozen.get((trial, unknown))
            if made is None:
                made = frozen(trial, place, history.target, self._distributions, unknown=unknown)
                self._frozen[trial, unknown] = made
            made.number = made._trial_id = place
            held.append(made)
        self._mirrors[1].held = held
        return self._draw(history, salt, make, self._mirrors[1], pending(len(trials)))

    def _draw(
        self, history: History, salt: int, make: Callable[..., BaseSampler], mirror: Mirror, asked: FrozenTrial
    ) -> Recipe | None:
        rng = _rng(history, salt)
        sampler = make(seed=int(rng.integers(2**32)))
        for _ in range(_ATTEMPTS if self._distributions else 0):
            drawn = sampled(sampler, mirror, asked, self._distributions)
            if len(drawn) < len(self._distributions):
                drawn = {**_uniform(history.space, rng), **drawn}
            recipe = history.space.canonical(drawn)
            if recipe not in history.scored:
                return recipe
        return _any_new(history, rng)

    def _usable(self, history: History) -> list[Outcome]:
        """The trials to learn from; each looked at once."""
        seen = self._seen
        if history.trials[: len(seen)] != seen:
            seen, self._fitting = (), []
        self._fitting = self._fitting + usable(history.trials[len(seen) :], self._distributions)
        self._seen = history.trials
        return self._fitting

    def _follow(self, history: History) -> None:
        """Forget what belongs to another space or target."""
        same = self._target == history.target and self._pareto == history.pareto
        if not same or (self._space is not history.space and self._space != history.space):
            self._distributions = distributions_of(history.space)
            self._frozen, self._population, self._generations = {}, [], []
            self._seen, self._fitting = (), []
            self._mirrors = {1: Mirror(), 2: Mirror(2)}
        self._space, self._target, self._pareto = history.space, history.target, history.pareto


def informative(history: History, trials: list[Outcome], limit: int = LOOKED_AT) -> list[Outcome]:
    """At most so many trials, in their order: the 60 best (feasible ones by cost, then by drop) and the latest."""
    if len(trials) <= limit:
        return trials

    def rank(place: int) -> tuple[bool, float, int]:
        trial = trials[place]
        held = history.feasible(trial) and trial.cost is not None
        return not held, (trial.cost or 0.0) if held else drop_of(trial), place

    best = sorted(range(len(trials)), key=rank)[:BEST]
    known = set(best)
    latest = [place for place in range(len(trials) - 1, -1, -1) if place not in known][: limit - BEST]
    return [trials[place] for place in sorted([*best, *latest])]


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


def _uniform(space: Space, rng: np.random.Generator) -> dict[str, str]:
    return {name: values[int(rng.integers(len(values)))] for name, values in space.offered.items()}


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
