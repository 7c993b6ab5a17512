"""The words of the search: recipe, space, history and the three actions a strategy can take."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol

from .words import (
    ACTIVATION_SYMMETRY,
    CALIBRATOR,
    CALIBRATOR_OF,
    INHERIT,
    INTEGER_ACTIVATIONS,
    LAYER,
    OF_WEIGHTS,
    OP,
    REWRITE,
    TABLE,
    WEIGHT_ONLY,
)


class Recipe(Mapping[str, str]):
    """One candidate's choices: parameter name → chosen value. Immutable, hashable, ordered by name.

    Names are `activation/calibrator`, `activation/symmetry`, `weight/granularity`, `weight/symmetry`, `weight/range`,
    `correction/rounding`, `correction/bias` (how the weights are rounded, and whether biases make up for it),
    `correction/equalization`, `correction/smooth` (whether, and by what rule, channels are scaled before),
    `rewrite/<name>` (an exact change of the float graph, on or off), `op/<OpType>` (precision of the glue of that
    type), `layer/<name>` (precision of a layer or group), `table/<name>` (of an embedding) and `calibrator/<name>` (the
    calibrator of what that layer or group reads, `inherit` for the global one).
    """

    __slots__ = ("_hash", "_parameters")

    def __init__(self, parameters: Mapping[str, str]) -> None:
        self._parameters = dict(sorted(parameters.items()))
        self._hash = hash(tuple(self._parameters.items()))

    def __getitem__(self, name: str) -> str:
        return self._parameters[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parameters)

    def __len__(self) -> int:
        return len(self._parameters)

    # As `Mapping` has them, ten times faster: a search goes through thousands of recipes of hundreds of parameters.

    def __contains__(self, name: object) -> bool:
        return name in self._parameters

    def get(self, name: str, default: Any = None, /) -> Any:
        """The choice of a parameter, `default` where there is none."""
        return self._parameters.get(name, default)

    def items(self) -> ItemsView[str, str]:
        """Parameter and choice, by name."""
        return self._parameters.items()

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Recipe):
            return NotImplemented
        return self is other or (self._hash == other._hash and self._parameters == other._parameters)

    def __reduce__(self) -> tuple[type[Recipe], tuple[dict[str, str]]]:
        """Its parameters alone: another process hashes texts otherwise."""
        return Recipe, (self._parameters,)

    def __repr__(self) -> str:
        return f"Recipe({self._parameters!r})"

    def replace(self, changes: Mapping[str, str]) -> Recipe:
        """This recipe with some parameters set otherwise."""
        return Recipe({**self._parameters, **changes})

    def layers(self, precision: str) -> tuple[str, ...]:
        """Names (without `layer/`) of the layers and groups of one precision."""
        return tuple(
            name[len(LAYER) :] for name, value in self.items() if name.startswith(LAYER) and value == precision
        )

    def glue(self, precision: str) -> tuple[str, ...]:
        """Operator types (without `op/`) of one precision."""
        return tuple(name[len(OP) :] for name, value in self.items() if name.startswith(OP) and value == precision)


@dataclass(frozen=True, slots=True)
class Border:
    """A tensor between two operators: where one is int8 and the other float, it is converted.

    Attributes:
        writer: `layer/…` or `op/…` of what writes it; empty for what is always float.
        reader: Likewise of what reads it.
        elements: Number of its elements.
    """

    writer: str
    reader: str
    elements: int


@dataclass(frozen=True)
class Space:
    """All parameters of a study and what may be chosen.

    Attributes:
        choices: Parameter → every choice the study's distributions know, whatever the target. Order: the
            global ones, then `rewrite/…`, `op/…`, `layer/…` in graph order, and `calibrator/…` likewise.
        offered: Parameter → the choices that the target runs and that `--fix`, `--keep-float` and `--only` leave
            open, the preferred first (never empty). One choice means fixed.
        shares: `layer/…` → that layer's share of the float model's bit operations (sums to 1); for the objective
            `size` its share of the weights' bytes, tables (`table/…`) included. What int8 could gain there.
        borders: The tensors between layers and glue, all rewrites on.
    """

    choices: Mapping[str, tuple[str, ...]]
    offered: Mapping[str, tuple[str, ...]]
    shares: Mapping[str, float] = field(default_factory=dict)
    borders: tuple[Border, ...] = ()

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """The `layer/…` parameters that may be int8, in graph order."""
        return tuple(name for name, values in self.offered.items() if name.startswith(LAYER) and "int8" in values)

    @cached_property
    def quantizable(self) -> tuple[str, ...]:
        """The `layer/…` parameters that may be anything but float, in graph order."""
        quantized = frozenset(INTEGER_ACTIVATIONS + WEIGHT_ONLY)
        return tuple(
            name for name, values in self.offered.items() if name.startswith(LAYER) and not quantized.isdisjoint(values)
        )

    @cached_property
    def tables(self) -> tuple[str, ...]:
        """The `table/…` parameters that may be anything but float."""
        return tuple(name for name, values in self.offered.items() if name.startswith(TABLE) and values != ("fp32",))

    @cached_property
    def free_layers(self) -> tuple[str, ...]:
        """The `layer/…` parameters that may be int8 or something else."""
        return tuple(name for name in self.layers if len(self.offered[name]) > 1)

    @cached_property
    def ops(self) -> tuple[str, ...]:
        """The `op/…` parameters that may be int8."""
        return tuple(name for name, values in self.offered.items() if name.startswith(OP) and "int8" in values)

    @cached_property
    def rewrites(self) -> tuple[str, ...]:
        """The `rewrite/…` parameters that may be on."""
        return tuple(name for name, values in self.offered.items() if name.startswith(REWRITE) and "on" in values)

    @cached_property
    def calibrators(self) -> tuple[str, ...]:
        """The `calibrator/…` parameters that leave a choice."""
        return tuple(
            name for name, values in self.offered.items() if name.startswith(CALIBRATOR_OF) and len(values) > 1
        )

    @cached_property
    def composed(self) -> dict[object, Any]:
        """What a replay would compute again at every step (`recipes.compose` and others): a memory for speed alone."""
        return {}

    def default(self) -> Recipe:
        """The first offered choice of every parameter."""
        return Recipe({name: values[0] for name, values in self.offered.items()})

    def fallback(self, name: str) -> str:
        """What a layer or glue falls back to from int8: the first offered of int16, fp16, fp32, else what is fixed."""
        offered = self.offered[name]
        return next((value for value in ("int16", "fp16", "fp32") if value in offered), offered[0])

    def canonical(self, recipe: Mapping[str, str]) -> Recipe:
        """The one recipe that stands for all that build the same candidate.

        A choice the target does not offer becomes the fallback (fp16 where there is no fp16: fp32) or the first
        offered one; weight settings are irrelevant, thus the first offered, when no layer's weight is quantized,
        activation settings when no layer's or glue's activations are. Missing parameters take the first offered choice;
        unknown ones are dropped.
        """
        chosen = {}
        for name, offered in self.offered.items():
            value = recipe.get(name, offered[0])
            if value not in offered:
                value = self.fallback(name) if name.startswith((LAYER, OP)) else offered[0]
            chosen[name] = value
        used = {chosen[name] for name in (*self.quantizable, *self.tables)}
        if used.isdisjoint(INTEGER_ACTIVATIONS + WEIGHT_ONLY):
            for name in OF_WEIGHTS:
                if name in self.offered:
                    chosen[name] = self.offered[name][0]
        if used.isdisjoint(INTEGER_ACTIVATIONS) and not any(chosen[name] == "int8" for name in self.ops):
            for name in (CALIBRATOR, ACTIVATION_SYMMETRY):
                chosen[name] = self.offered[name][0]
        for name in self.calibrators:
            layer = LAYER + name[len(CALIBRATOR_OF) :]
            idle = chosen.get(layer, "int8") not in INTEGER_ACTIVATIONS or chosen[name] == chosen[CALIBRATOR]
            if idle and INHERIT in self.offered[name]:
                chosen[name] = INHERIT
        return Recipe(chosen)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One trial as a strategy sees it.

    Attributes:
        drop: How much worse than the baseline, in the target's unit (relative or absolute); None for a failed trial.
            For a pruned trial a lower bound that already exceeds the target.
        cost: Relative to the float model, lower is better (1.0 = float); None for pruned and failed trials.
        cost_noise: Half the width of the cost's 95 % interval, relative to it; 0 where the cost is computed.
        phase: The word the proposing action carried.
        estimate: What the drop of a pruned trial is likely to be, from the samples it saw; at least `drop`.
    """

    number: int
    recipe: Recipe
    state: Literal["complete", "pruned", "failed"]
    metric: float | None
    drop: float | None
    cost: float | None
    phase: str = ""
    cost_noise: float = 0.0
    estimate: float | None = None


@dataclass(frozen=True, slots=True)
class Profile:
    """Where the time of one candidate goes, by the runtime's own profile of the optimized graph. Milliseconds.

    Attributes:
        layers: `layer/…` → the kernels of that layer or group, its fused tail included.
        glue: Operator type → the kernels of glue and other float operators of that type.
        conversions: QuantizeLinear, DequantizeLinear, casts and layout changes.
        total: All of it.
    """

    layers: Mapping[str, float]
    glue: Mapping[str, float]
    conversions: float
    total: float


@dataclass(frozen=True)
class History:
    """Everything a strategy may know. Trials in the order they were told, recipes canonical.

    Attributes:
        target: The tolerated drop, in the unit of `Outcome.drop`.
        objective: `latency`, `size` or `ops`: what `Outcome.cost` measures.
        probes: (kind, recipe) → value. A probe that failed has the value infinity.
        profiles: Recipe → its profile (probes of the kind `profile`).
        max_trials: Budget of trials of the whole study, None where there is none.
        patience: Trials without improvement after which the search ends, None for the strategy's own number.
        pareto: Whether the front of cost against drop is asked for, not only the cheapest recipe within the target.
    """

    space: Space
    target: float
    objective: str = "ops"
    trials: tuple[Outcome, ...] = ()
    probes: Mapping[tuple[str, Recipe], float] = field(default_factory=dict)
    profiles: Mapping[Recipe, Profile] = field(default_factory=dict)
    seed: int = 0
    max_trials: int | None = None
    patience: int | None = None
    pareto: bool = False

    @cached_property
    def scored(self) -> Mapping[Recipe, Outcome]:
        """Every recipe tried, with its last outcome."""
        return {trial.recipe: trial for trial in self.trials}

    def feasible(self, trial: Outcome) -> bool:
        """Whether a trial was scored in full and holds the target."""
        return trial.state == "complete" and trial.drop is not None and trial.drop <= self.target

    @cached_property
    def best(self) -> Outcome | None:
        """The feasible trial of least cost, the earliest among equals."""
        held = [trial for trial in self.trials if self.feasible(trial) and trial.cost is not None]
        return min(held, key=lambda trial: (trial.cost, trial.number), default=None)


@dataclass(frozen=True, slots=True)
class Score:
    """Score this recipe with the user's metric: one trial."""

    recipe: Recipe
    phase: str


@dataclass(frozen=True, slots=True)
class Probe:
    """Measure this recipe cheaply, without labels. Not a trial.

    Kinds: `distance` (mean relative squared error of the model's outputs against float on a few calibration
    samples, ≥ 0, lower is better), `kl`, `cosine` and others of `evaluators/distances.py` (likewise; `sqnr` on more
    samples); `weights` (the `sqnr` that rounding the weights alone causes); `latency` (the
    cost under the objective latency, as `Outcome.cost`); `profile` (a `Profile`).

    Attributes:
        kind: One of these.
        recipe: What is measured.
        phase: What for, in a word.
        beat: Of a latency: it need be no more precise than to tell that the cost is higher than this.
    """

    kind: str
    recipe: Recipe
    phase: str
    beat: float | None = None


@dataclass(frozen=True, slots=True)
class Stop:
    """The strategy has nothing better to propose."""

    reason: str


Action = Score | Probe | Stop


class Strategy(Protocol):
    """Decides the next action from the history alone.

    Contract (tests/strategies/test_contract.py holds every strategy to it): `next` is a pure function of its
    argument: it keeps no state that changes a decision, so that a resumed run goes on as if never interrupted.
    Recipes in actions are canonical (`space.canonical`). A recipe in `history.scored` is never scored again and a
    probe in `history.probes` never asked again. A strategy does not count the budget: whoever executes stops at
    `max_trials` and at the time limit.
    """

    name: str

    def next(self, history: History) -> Action:
        """The next action, given all that is known."""
        ...
