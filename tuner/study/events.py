"""What a run tells whoever watches: small immutable events, in order, from one thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Phase = Literal["load", "baseline", "calibration", "speed", "sensitivity", "search", "confirm", "deliver"]


@dataclass(frozen=True, slots=True)
class Noted:
    """Something the user should know (a model's peculiarity, a resumed study). `warning` stands out."""

    text: str
    warning: bool = False


@dataclass(frozen=True, slots=True)
class PhaseStarted:
    """A phase begins. Sensitivity and search may alternate."""

    phase: Phase


@dataclass(frozen=True, slots=True)
class Progressed:
    """`done` units of the current phase (samples, probes), of `total` where known."""

    done: int
    total: int | None = None


@dataclass(frozen=True, slots=True)
class BaselineScored:
    """The float model's metric, samples (None for form 1) and latency (ms, None if not timed)."""

    metric: float
    samples: int | None
    seconds: float
    latency_ms: float | None = None


@dataclass(frozen=True, slots=True)
class SearchStarted:
    """Totals known before the first trial."""

    layers: int
    target: str
    objective: str
    strategy: str
    max_trials: int | None
    timeout: float | None
    resumed: int = 0


@dataclass(frozen=True, slots=True)
class TrialStarted:
    """A recipe is about to be built and scored."""

    number: int
    phase: str
    int8_layers: int
    layers: int
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrialFinished:
    """A trial was told. `best` is the number of the best feasible trial so far, `samples` how many were scored."""

    number: int
    state: Literal["complete", "pruned", "failed"]
    metric: float | None
    drop: float | None
    cost: float | None
    feasible: bool
    seconds: float
    int8_layers: int
    speedup: float | None = None
    best: int | None = None
    error: str = ""
    reused: bool = False
    samples: int | None = None


Event = Noted | PhaseStarted | Progressed | BaselineScored | SearchStarted | TrialStarted | TrialFinished
Observer = Callable[[Event], None]


def ignore(event: Event) -> None:
    """An observer that watches nothing."""
