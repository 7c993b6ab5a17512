"""A synthetic tuning problem: per-layer sensitivities, interactions, noise and costs; and an executor for it."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from autoquant.strategies import words
from autoquant.strategies.base import (
    Action,
    History,
    Outcome,
    Probe,
    Profile,
    Recipe,
    Score,
    Space,
    Stop,
    Strategy,
)
from autoquant.strategies.replay import Procedure


def make_space(
    layers: int,
    *,
    seed: int = 0,
    ops: tuple[str, ...] = ("Add", "Concat", "Mul"),
    calibrators: tuple[str, ...] = words.CALIBRATORS,
    precisions: tuple[str, ...] = ("int8", "fp32"),
) -> Space:
    rng = np.random.default_rng(seed)
    choices: dict[str, tuple[str, ...]] = {
        words.CALIBRATOR: words.CALIBRATORS,
        words.ACTIVATION_SYMMETRY: words.SYMMETRIES,
        words.WEIGHT_GRANULARITY: words.GRANULARITIES,
        words.WEIGHT_SYMMETRY: words.SYMMETRIES,
    }
    offered = {**choices, words.CALIBRATOR: calibrators, words.WEIGHT_SYMMETRY: ("symmetric",)}
    for op in ops:
        choices[words.OP + op] = offered[words.OP + op] = words.GLUE_PRECISIONS
    raw = rng.lognormal(0.0, 1.0, layers)
    names = [f"{words.LAYER}node_{index:03d}" for index in range(layers)]
    for name in names:
        choices[name] = words.PRECISIONS
        offered[name] = precisions
    return Space(choices, offered, dict(zip(names, (raw / raw.sum()).tolist(), strict=True)))


def noise(recipe: Recipe, salt: int) -> float:
    """A standard normal deviate that depends on the recipe alone."""
    digest = zlib.crc32(repr((salt, sorted(recipe.items()))).encode())
    return float(np.random.default_rng(digest).standard_normal())


@dataclass
class Problem:
    """Drop and distance of a recipe: additive in the layers, times the setting's factor, with interactions and noise.

    Attributes:
        total: Drop of all-int8 under the best setting, in units of the target.
        spread: Log-normal sigma of the sensitivities: large means that few layers matter.
        mismatch: Log-normal sigma of the probe against the metric, per layer.
        jitter: Standard deviation of the metric over recipes, in units of the target.
        of_weights: Part of a distance that rounding the weights alone causes.
        needed: Layers that alone break the target, whatever the probes say of them.
    """

    space: Space
    seed: int = 0
    target: float = 0.01
    objective: str = "ops"
    total: float = 3.0
    spread: float = 1.5
    mismatch: float = 0.0
    jitter: float = 0.0
    interaction: float = 0.0
    best_calibrator: str = "percentile_99.99"
    needed: tuple[str, ...] = ()
    glue_drop: float = 0.1
    of_weights: float = 0.5
    glue_gain: dict[str, float] = field(default_factory=dict)
    clock: float = 0.0

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed + 1000)
        names = self.space.layers
        raw = rng.lognormal(0.0, self.spread, len(names))
        self.true = dict(zip(names, self.total * self.target * raw / raw.sum(), strict=True))
        probe = raw * rng.lognormal(0.0, self.mismatch, len(names)) if self.mismatch else raw
        self.probe = dict(zip(names, probe / probe.sum(), strict=True))
        for name in self.needed:
            self.true[name] += 2.0 * self.target
        others = [c for c in words.CALIBRATORS if c != self.best_calibrator]
        self.factor = {self.best_calibrator: 1.0, **{c: 1.5 + 0.7 * i for i, c in enumerate(rng.permutation(others))}}

    def _int8(self, recipe: Recipe) -> list[str]:
        return [name for name in self.space.layers if recipe[name] == "int8"]

    def _scale(self, recipe: Recipe) -> float:
        scale = self.factor[recipe[words.CALIBRATOR]]
        scale *= 1.2 if recipe[words.ACTIVATION_SYMMETRY] == "symmetric" else 1.0
        return scale * (2.0 if recipe[words.WEIGHT_GRANULARITY] == "per_tensor" else 1.0)

    def drop(self, recipe: Recipe) -> float:
        layers = self._int8(recipe)
        if not layers:
            return 0.0
        total = sum(self.true[name] for name in layers) * self._scale(recipe)
        total += self.glue_drop * self.target * len(recipe.glue("int8"))
        total += self.interaction * total * total / self.target
        return total + self.jitter * self.target * noise(recipe, self.seed)

    def distance(self, recipe: Recipe) -> float:
        total = sum(self.probe[name] for name in self._int8(recipe)) * self._scale(recipe)
        return total + 0.02 * len(recipe.glue("int8"))

    def cost(self, recipe: Recipe) -> float:
        if self.objective in ("ops", "size"):
            return sum(share * (1 / 16 if recipe[name] == "int8" else 1.0) for name, share in self.space.shares.items())
        cost = sum(share * (0.5 if recipe[name] == "int8" else 1.0) for name, share in self.space.shares.items())
        cost -= sum(self.glue_gain.get(op, -0.05) for op in recipe.glue("int8"))
        return cost * (1.0 + self.clock * noise(recipe, self.seed + 1))

    def profile(self, recipe: Recipe) -> Profile:
        """As the runtime would tell: each layer's share of the time, and what is left."""
        layers = {name: share * (0.5 if recipe[name] == "int8" else 1.0) for name, share in self.space.shares.items()}
        ops = [name.removeprefix(words.OP) for name in self.space.ops]
        on = recipe.glue("int8")
        glue = {op: 0.2 - (self.glue_gain.get(op, -0.05) if op in on else 0.0) for op in ops}
        return Profile(layers, glue, 0.0, sum(layers.values()) + sum(glue.values()))

    def measure(self, kind: str, recipe: Recipe) -> float:
        if kind == words.LATENCY:
            return self.cost(recipe)
        return self.distance(recipe) * (self.of_weights if kind == words.WEIGHTS else 1.0)

    def outcome(self, number: int, action: Score) -> Outcome:
        drop = self.drop(action.recipe)
        return Outcome(number, action.recipe, "complete", 1.0 - drop, drop, self.cost(action.recipe), action.phase)

    def history(self, **known: object) -> History:
        return History(self.space, self.target, self.objective, seed=self.seed, **known)  # type: ignore[arg-type]


@dataclass
class Run:
    """A finished run: the last history, why it ended, and every action in order."""

    history: History
    reason: str | None
    actions: list[Action]

    @property
    def best(self) -> Outcome | None:
        return self.history.best

    @property
    def first_feasible(self) -> int | None:
        """Trials up to and with the first that holds the target."""
        return next((i + 1 for i, t in enumerate(self.history.trials) if self.history.feasible(t)), None)


def run(
    problem: Problem,
    strategy: Strategy,
    *,
    max_trials: int | None = None,
    limit: int = 400,
    fail: Callable[[int], bool] = lambda number: False,
    start: History | None = None,
) -> Run:
    """Execute a strategy on a problem, holding it to the contract at every step."""
    history = start or problem.history(max_trials=max_trials)
    actions: list[Action] = []
    while max_trials is None or len(history.trials) < max_trials:
        action = strategy.next(history)
        actions.append(action)
        if isinstance(action, Stop):
            return Run(history, action.reason, actions)
        assert action.recipe == problem.space.canonical(action.recipe), "recipes must be canonical"
        trials, probes, profiles = history.trials, dict(history.probes), dict(history.profiles)
        if isinstance(action, Probe) and action.kind == words.PROFILE:
            assert action.recipe not in profiles, "a profile must not be asked again"
            profiles[action.recipe] = problem.profile(action.recipe)
        elif isinstance(action, Probe):
            assert (action.kind, action.recipe) not in probes, "a probe must not be asked again"
            probes[action.kind, action.recipe] = problem.measure(action.kind, action.recipe)
        else:
            assert action.recipe not in history.scored, "a recipe must not be scored again"
            number = len(trials)
            failed = Outcome(number, action.recipe, "failed", None, None, None, action.phase)
            trials = (*trials, failed if fail(number) else problem.outcome(number, action))
        history = problem.history(trials=trials, probes=probes, profiles=profiles, max_trials=max_trials)
        assert len(trials) <= limit, "the strategy does not come to an end"
    return Run(history, None, actions)


def follow(procedure: Procedure[Any], problem: Problem) -> tuple[Any, list[Recipe]]:
    """Run a procedure to its end on a problem; its result and the recipes it scored."""
    scored: list[Recipe] = []
    answer: Any = None
    while True:
        try:
            action = procedure.send(answer)
        except StopIteration as end:
            return end.value, scored
        if isinstance(action, Probe):
            answer = problem.measure(action.kind, action.recipe)
        else:
            scored.append(action.recipe)
            answer = problem.outcome(len(scored) - 1, action)


def check_contract(make: Callable[[], Strategy], problem: Problem, *, max_trials: int | None = None) -> Run:
    """Hold a strategy to `Strategy`'s contract; for third-party strategies too.

    Actions are canonical and never repeated (`run` asserts it); the action depends on the history alone: a fresh
    instance, the probes in another order, and a replay from every prefix give the same ones.
    """
    done = run(problem, make(), max_trials=max_trials)
    veteran = make()
    trials: tuple[Outcome, ...] = ()
    probes: dict[tuple[str, Recipe], float] = {}
    profiles: dict[Recipe, Profile] = {}
    step = max(1, len(done.actions) // 12)
    for position, action in enumerate(done.actions):
        if position % step == 0 or position == len(done.actions) - 1:
            shuffled = dict(sorted(probes.items(), key=lambda item: hash(item[0])))
            history = problem.history(trials=trials, probes=shuffled, profiles=profiles, max_trials=max_trials)
            assert make().next(history) == action, "a fresh instance must go on as the first did"
            assert veteran.next(history) == action, "what an instance saw earlier must not matter"
        if isinstance(action, Probe) and action.kind == words.PROFILE:
            profiles[action.recipe] = done.history.profiles[action.recipe]
        elif isinstance(action, Probe):
            probes[action.kind, action.recipe] = done.history.probes[action.kind, action.recipe]
        elif isinstance(action, Score):
            trials = (*trials, done.history.trials[len(trials)])
    # In the other direction too: an old history after a new one.
    assert veteran.next(problem.history(max_trials=max_trials)) == done.actions[0]
    return done
