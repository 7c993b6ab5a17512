"""One trial: what was measured, how it reads back, and the names of its attributes."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from ...strategies.base import Outcome, Recipe

State = Literal["running", "complete", "pruned", "failed"]

_NUMBERS = ("metric", "drop", "drop_estimate", "cost", "latency_ms", "speedup", "size_bytes", "int8_layers", "samples")
_SECONDS = "seconds/"


@dataclass(frozen=True, slots=True)
class Measured:
    """What scoring one candidate found.

    Attributes:
        metric: The user's number, finite; estimated from the samples seen when the trial was pruned.
        drop: How much worse than the baseline, in the target's unit; a lower bound when the trial was pruned.
        drop_estimate: What the drop of a pruned trial is likely to be; None for others.
        cost: Relative to the float model; None when the trial was pruned.
        latency_ms: Median latency of the candidate, milliseconds.
        speedup: Baseline ÷ candidate, with its 95 % interval `speedup_ci`.
        size_bytes: Size of the model as it would be written.
        int8_layers: Layers that the recipe puts on integers.
        samples: Samples scored; None where the evaluation does not say.
        seconds: Part → wall time: `build`, `session`, `evaluate`, ….
        scored_on: Provider, fused or simulated, runtime version, instruction set, threads.
        reused_from: `<study>#<number>` of the trial the score was taken from, "" for a score of its own.
        extra: Further JSON-able attributes, by name.
    """

    metric: float | None
    drop: float | None
    drop_estimate: float | None = None
    cost: float | None = None
    latency_ms: float | None = None
    speedup: float | None = None
    speedup_ci: tuple[float, float] | None = None
    size_bytes: int | None = None
    int8_layers: int | None = None
    samples: int | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    scored_on: Mapping[str, Any] = field(default_factory=dict)
    reused_from: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    def attributes(self) -> dict[str, Any]:
        """The trial attributes that hold it. What is None or empty is left out."""
        found: dict[str, Any] = dict(self.extra)
        found |= {name: getattr(self, name) for name in _NUMBERS}
        found["speedup_ci"] = list(self.speedup_ci) if self.speedup_ci else None
        found |= {_SECONDS + part: value for part, value in self.seconds.items()}
        found["scored_on"] = dict(self.scored_on)
        found["reused_from"] = self.reused_from
        return {name: value for name, value in found.items() if value is not None and value not in ("", {})}


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """One trial of the database. Fields as in `Measured`, None or empty where the trial has none.

    Attributes:
        constraint: drop − target: at most 0 when the target is held. None for failed and running trials.
        error: Why it failed, one line.
        interrupted: Its process died or was stopped: told as failed, says nothing about the recipe.
        owner: Whose trial it is (`Store.create`).
        attributes: All user attributes as stored.
        started: Local time, naive.
        finished: Local time, naive; None while it runs.
    """

    number: int
    recipe: Recipe
    state: State
    phase: str = ""
    recipe_hash: str = ""
    metric: float | None = None
    drop: float | None = None
    drop_estimate: float | None = None
    cost: float | None = None
    constraint: float | None = None
    latency_ms: float | None = None
    speedup: float | None = None
    speedup_ci: tuple[float, float] | None = None
    size_bytes: int | None = None
    int8_layers: int | None = None
    samples: int | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    scored_on: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    reused_from: str = ""
    interrupted: bool = False
    owner: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    started: datetime | None = None
    finished: datetime | None = None

    @property
    def feasible(self) -> bool:
        """Whether it was scored in full and holds the study's target."""
        return self.state == "complete" and self.constraint is not None and self.constraint <= 0.0

    @property
    def told(self) -> bool:
        """Whether it ended by itself and says something about its recipe."""
        return self.state != "running" and not self.interrupted

    def outcome(self) -> Outcome:
        """The trial as a strategy sees it. Not for one that still runs."""
        if self.state == "running":
            raise ValueError(f"trial {self.number} still runs")
        return Outcome(
            self.number,
            self.recipe,
            self.state,
            self.metric,
            self.drop,
            self.cost,
            self.phase,
            estimate=self.drop_estimate,
            cost_noise=self.cost_noise,
        )

    @property
    def cost_noise(self) -> float:
        """Half the width of the cost's 95 % interval, relative to it; 0 where the cost is no time."""
        if self.speedup_ci is None or not self.speedup or self.cost is None:
            return 0.0
        timed = math.isclose(self.cost * self.speedup, 1.0, rel_tol=1e-6)
        return (self.speedup_ci[1] - self.speedup_ci[0]) / (2.0 * self.speedup) if timed else 0.0

    @classmethod
    def of(
        cls,
        number: int,
        recipe: Recipe,
        state: State,
        attributes: Mapping[str, Any],
        *,
        constraint: float | None = None,
        owner: str = "",
        started: datetime | None = None,
        finished: datetime | None = None,
    ) -> TrialRecord:
        """Build it from what the database holds."""
        interval = attributes.get("speedup_ci")
        return cls(
            number=number,
            recipe=recipe,
            state=state,
            phase=attributes.get("phase", ""),
            recipe_hash=attributes.get("recipe_hash", ""),
            **{name: attributes.get(name) for name in _NUMBERS},
            constraint=constraint,
            speedup_ci=(interval[0], interval[1]) if interval else None,
            seconds={k.removeprefix(_SECONDS): v for k, v in attributes.items() if k.startswith(_SECONDS)},
            scored_on=attributes.get("scored_on", {}),
            error=attributes.get("error", ""),
            reused_from=attributes.get("reused_from", ""),
            interrupted=bool(attributes.get("interrupted", False)),
            owner=owner,
            attributes=attributes,
            started=started,
            finished=finished,
        )


def recipe_hash(recipe: Mapping[str, str]) -> str:
    """16 hex digits that name a recipe: sha256 of its parameters as JSON, ordered by name."""
    text = json.dumps(dict(sorted(recipe.items())), separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def to_json(value: Any) -> str:
    """Strict JSON text; numpy scalars and arrays become numbers and lists, tuples lists.

    Raises:
        ValueError: NaN or infinity, which JSON does not know.
        TypeError: Something JSON cannot hold.
    """
    return json.dumps(value, allow_nan=False, default=_plain)


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"not JSON-able: {type(value).__name__}")


def comparable(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two `scored_on` give the same metric: everything but the number of threads is equal."""
    if one == other:  # as a rule, and asked of a thousand trials at every step
        return True
    return {k: v for k, v in one.items() if k != "threads"} == {k: v for k, v in other.items() if k != "threads"}


def encode(recipe: Mapping[str, str], choices: Mapping[str, tuple[str, ...]]) -> str:
    """A recipe as one digit per parameter: the index of its choice, in the order of `choices`."""
    return "".join(format(values.index(recipe[name]), "x") for name, values in choices.items())


def decode(text: str, choices: Mapping[str, tuple[str, ...]]) -> Recipe:
    """The inverse of `encode`."""
    pairs = zip(choices.items(), text, strict=True)
    return Recipe({name: values[int(digit, 16)] for (name, values), digit in pairs})


def is_number(value: float | None) -> bool:
    """Whether it is a finite number."""
    return value is not None and math.isfinite(value)
