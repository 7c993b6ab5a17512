"""When a search ends: its budgets, the first success, or no improvement for long."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from ...strategies.base import History, Outcome
from ...strategies.front import front
from ...strategies.recipes import drop_of
from .events import Progressed
from .result import LEAST_SHARE
from .run import Run
from .trial import TrialRecord

_GAIN = 0.002
"""A cost must fall by this part to count as an improvement."""
_TIMED_MODELS = 5
"""Models that the confirmation may time: the closest few against each other, then the file and its rewrites alone."""


class OutOfTime(Exception):  # noqa: N818 - no error: it ends an evaluation whose result could not be used in time
    """Raised inside an evaluation that would use up the time its search has left."""


@dataclass(frozen=True, slots=True)
class Ended:
    """Why the search ended: the strategy was done, or a rule or a budget was."""

    by: Literal["strategy", "first", "patience", "trials", "timeout"]
    reason: str

    @property
    def spent(self) -> bool:
        """Whether a budget ended it, so that nothing more may be scored."""
        return self.by in ("trials", "timeout")


def due(run: Run, history: History) -> Ended | None:
    """The rule that ends the search before anything more is asked of the strategy, None while there is none."""
    request = run.inputs.request
    if request.stop == "first" and (number := first_success(run)) is not None:
        return Ended("first", f"trial {number} holds the target and gains, and --stop first asks for no more")
    if request.patience is not None and idle(history) >= request.patience:
        return Ended("patience", f"no better recipe in the last {request.patience} trials (--patience)")
    if request.max_trials is not None and sum(record.told for record in run.store.trials()) >= request.max_trials:
        return Ended("trials", f"--max-trials {request.max_trials} is reached")
    return over(run) if run.overtime else None


def over(run: Run) -> Ended:
    """The end by time."""
    return Ended("timeout", f"--timeout of {run.inputs.request.timeout:g} s is over")


def fits(run: Run, seconds: float) -> bool:
    """Whether something of that many seconds leaves enough of `--timeout` to confirm and write the best found."""
    timeout = run.inputs.request.timeout
    return timeout is None or run.clock.elapsed + seconds + reserve(run) <= timeout


def expected(run: Run) -> float:
    """Seconds that the next trial may take: the median of those scored here, before the first the baseline's."""
    own = _own(run)
    return median(sum(record.seconds.values()) for record in own) if own else run.baseline.seconds


def reserve(run: Run) -> float:
    """Seconds that confirming, timing and writing the best found may take. 0 while there is nothing to confirm."""
    own = [record for record in _own(run) if record.state != "failed"]
    if not own:
        return 0.0
    whole = [record for record in own if record.state == "complete"]

    def usual(*parts: str) -> float:
        return median(sum(record.seconds.get(part, 0.0) for part in parts) for record in whole or own)

    # Where all were stopped early the best effort is still to be scored in full.
    evaluate = usual("evaluate") if whole else run.baseline.seconds
    held = run.inputs.held
    if held is not None:  # the float model and the delivered one
        fraction = run.inputs.request.holdout or 0.0
        evaluate += 2.0 * evaluate * (fraction / (1.0 - fraction) if held.random_access else 1.0)
    models = _TIMED_MODELS + (len(front(run.history())) if run.inputs.pareto else 0)
    return evaluate + usual("build", "session") + models * usual("latency")


def watched(run: Run) -> Callable[[int, int | None], None]:
    """The progress of one evaluation, which ends it (`OutOfTime`) once only the confirmation's time is left.

    While nothing was scored there is nothing to confirm either: then it goes on.
    """
    timeout = run.inputs.request.timeout
    kept = reserve(run)
    confirmable = kept > 0.0

    def progress(done: int, total: int | None) -> None:
        run.observer(Progressed(done, total))
        if timeout is not None and confirmable and run.clock.elapsed + kept > timeout:
            raise OutOfTime

    return progress


def first_success(run: Run) -> int | None:
    """Number of the first trial that holds the target and gains: what would be delivered as met."""
    return next((record.number for record in run.usable() if succeeded(record, run)), None)


def succeeded(record: TrialRecord, run: Run) -> bool:
    """Whether a trial holds the target, has layers on integers and, where it was timed, is faster beyond noise."""
    if not record.feasible or (record.int8_layers or 0) < LEAST_SHARE * len(run.inputs.analysis.layers):
        return False
    if run.inputs.objective != "latency":
        return True
    return record.speedup_ci is not None and record.speedup_ci[0] > 1.0


def idle(history: History) -> int:
    """Trials since the last improvement.

    Until something holds the target, a smaller drop is one; then a cost that is lower beyond its noise; where a front
    is asked for, every trial that no other had beaten in both.
    """
    improves = _beyond_front if history.pareto else _beyond_best
    count = 0
    for place, trial in enumerate(history.trials):
        better = trial.state != "failed" and improves(history, trial, history.trials[:place])
        count = 0 if better else count + 1
    return count


def _beyond_best(history: History, trial: Outcome, before: Sequence[Outcome]) -> bool:
    costs = [other.cost for other in before if history.feasible(other) and other.cost is not None]
    if costs:
        margin = max(_GAIN, trial.cost_noise)
        return history.feasible(trial) and trial.cost is not None and trial.cost < min(costs) * (1.0 - margin)
    return history.feasible(trial) or drop_of(trial) < min(map(drop_of, before), default=math.inf)


def _beyond_front(history: History, trial: Outcome, before: Sequence[Outcome]) -> bool:
    return trial.state == "complete" and not any(
        other.state == "complete"
        and other.drop is not None
        and trial.drop is not None
        and other.drop <= trial.drop
        and (other.cost or 0.0) <= (trial.cost or 0.0)
        for other in before
    )


def _own(run: Run) -> list[TrialRecord]:
    """Trials that this study scored itself, on what it scores on now."""
    return [record for record in run.usable() if record.seconds and not record.reused_from]
