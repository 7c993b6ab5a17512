"""What a run carries from phase to phase."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from ...evaluators.base import Feed
from ...strategies.base import History, Space
from ..calibration.ranges import Ranges
from .baseline import Baseline
from .clock import Clock
from .events import Observer
from .executor import Executor
from .inputs import Inputs
from .store import Store
from .trial import TrialRecord, comparable


@dataclass(frozen=True)
class Run:
    """Everything fixed once baseline and calibration are there.

    Attributes:
        timed: The feed that is timed.
        resumed: Trials that were there when the run began.
    """

    inputs: Inputs
    store: Store
    space: Space
    executor: Executor
    baseline: Baseline
    ranges: Ranges
    timed: Feed
    observer: Observer
    clock: Clock
    resumed: int = 0

    def comparable(self) -> list[TrialRecord]:
        """Trials told that were scored as this run scores: unequal ones are never compared as if equal."""
        return self._comparable(record for record in self.store.trials() if record.told)

    def usable(self) -> list[TrialRecord]:
        """Of those the trials that this run's options would build, of which one may be delivered."""
        return self._comparable(self.store.within(self.space))

    def _comparable(self, records: Iterable[TrialRecord]) -> list[TrialRecord]:
        here = self.inputs.scored_on
        return [record for record in records if record.state == "failed" or comparable(record.scored_on, here)]

    def history(self) -> History:
        """The study as a strategy sees it: what was scored as this run scores."""
        request = self.inputs.request
        whole = self.store.history(
            self.space,
            objective=self.inputs.objective,
            seed=request.seed,
            max_trials=request.max_trials,
            here=self.clocked_on,
        )
        like = {record.number for record in self.comparable()}
        trials = tuple(trial for trial in whole.trials if trial.number in like)
        return replace(whole, trials=trials, pareto=self.inputs.pareto, patience=request.patience)

    @property
    def clocked_on(self) -> dict[str, Any]:
        """Where the clock of this run runs: the target's own kernels where they are here."""
        return (self.inputs.real or self.inputs.bench).scored_on()

    @property
    def overtime(self) -> bool:
        """Whether `--timeout` has passed."""
        timeout = self.inputs.request.timeout
        return timeout is not None and self.clock.elapsed >= timeout
