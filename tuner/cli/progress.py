"""What is known of a run so far: events folded into one state that any view can draw."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from ..study.events import (
    BaselineScored,
    Event,
    Noted,
    Phase,
    PhaseStarted,
    Progressed,
    SearchStarted,
    TrialFinished,
    TrialStarted,
)

RECENT = 10  # trials whose mean time predicts the next ones'


@dataclass(frozen=True, slots=True)
class Remaining:
    """Time left in the current phase, seconds; `bound` where it is a limit rather than a forecast."""

    seconds: float
    bound: bool


class Progress:
    """Folds events in the order they come. One thread writes; another may read at any time.

    Args:
        clock: Monotonic seconds; another one in tests.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.started = clock()
        self.phase: Phase | None = None
        self.done = 0
        self.total: int | None = None
        self.baseline: BaselineScored | None = None
        self.search: SearchStarted | None = None
        self.running: dict[int, TrialStarted] = {}
        self.trials: list[TrialFinished] = []
        self.phases: dict[int, str] = {}
        self.settings: dict[int, str] = {}
        self.best_number: int | None = None
        self.spent: dict[Phase, float] = {}
        self.units: dict[Phase, int] = {}
        self._since = self.started

    def __call__(self, event: Event) -> None:
        """Take one event in."""
        match event:
            case PhaseStarted():
                self._leave()
                self.phase, self.done, self.total = event.phase, 0, None
                self.spent.setdefault(event.phase, 0.0)
            case Progressed():
                self.done, self.total = event.done, event.total
                if self.phase is not None:
                    self.units[self.phase] = event.done
            case BaselineScored():
                self.baseline = event
            case SearchStarted():
                self.search = event
            case TrialStarted():
                self.running[event.number] = event
                self.done, self.total = 0, None  # from here on samples of this trial
                self.phases[event.number] = event.phase
                self.settings[event.number] = " · ".join(event.settings.values())
            case TrialFinished():
                self.running.pop(event.number, None)
                self.trials.append(event)
                self.best_number = event.best if event.best is not None else self.best_number
            case Noted():
                pass  # a view prints it at once

    def _leave(self) -> None:
        now = self._clock()
        if self.phase is not None:
            self.spent[self.phase] += now - self._since
        self._since = now

    def elapsed(self) -> float:
        """Seconds since the run began."""
        return self._clock() - self.started

    def seconds(self, phase: Phase) -> float:
        """Seconds spent in a phase so far."""
        running = self._clock() - self._since if phase == self.phase else 0.0
        return self.spent.get(phase, 0.0) + running

    @property
    def relative(self) -> bool:
        """Whether drops are relative to the baseline."""
        return self.search is not None and self.search.target.endswith("%")

    @property
    def target(self) -> float | None:
        """The tolerated drop as a number, None before the search."""
        if self.search is None:
            return None
        value = float(self.search.target.rstrip("% "))
        return value / 100 if self.relative else value

    @property
    def best(self) -> TrialFinished | None:
        """The best trial that holds the target, if this invocation saw it."""
        return next((trial for trial in reversed(self.trials) if trial.number == self.best_number), None)

    @property
    def closest(self) -> TrialFinished | None:
        """The complete trial of least drop."""
        scored = [trial for trial in self.trials if trial.state == "complete" and trial.drop is not None]
        return min(scored, key=lambda trial: trial.drop or 0.0, default=None)

    @property
    def told(self) -> int:
        """Trials of the whole study, earlier invocations' included."""
        return len(self.trials) + (self.search.resumed if self.search else 0)

    def remaining(self) -> Remaining | None:
        """Time left, where anything is known about it."""
        if self.phase in ("search", "speed", "sensitivity") and self.search is not None:
            return self._remaining_search(self.search)
        if self.phase is None or not self.total or not self.done:
            return None
        spent = self._clock() - self._since
        return Remaining(spent * max(0, self.total - self.done) / self.done, bound=False)

    def _remaining_search(self, search: SearchStarted) -> Remaining | None:
        forecasts = []
        recent = [trial.seconds for trial in self.trials if not trial.reused][-RECENT:]
        if search.max_trials is not None and recent:
            left = max(0, search.max_trials - self.told)
            forecasts.append(Remaining(left * sum(recent) / len(recent), bound=False))
        if search.timeout is not None:
            forecasts.append(Remaining(max(0.0, search.timeout - self.elapsed()), bound=True))
        return min(forecasts, key=lambda each: each.seconds, default=None)
