"""Whether the winner of a search is really better than the next one, or only luckier."""

from __future__ import annotations

from ...evaluators.paired import drop_interval
from .baseline import load_samples
from .confirm import Confirmed
from .run import Run
from .search import samples_file
from .trial import TrialRecord

_EQUAL = 0.002


def note(run: Run, found: Confirmed) -> str | None:
    """A sentence where the winner's advantage over the runner-up is within the noise of their measurements.

    Where latency is the objective the intervals of the two speedups overlap; a computed cost has no noise, so there
    the two must cost the same. Then their metrics are compared by the paired bootstrap over their samples.
    """
    if not found.holds or found.passed is not None:
        return None
    rival = _runner_up(run, found)
    if rival is None:
        return None
    if run.inputs.objective == "latency":
        if found.latency is None or rival.speedup is None or rival.speedup_ci is None:
            return None
        low, high = rival.speedup_ci
        if high < found.latency.speedup_ci[0]:
            return None
        alike = f"trial {rival.number} is as fast within noise ({rival.speedup:.2f}×, {low:.2f} to {high:.2f})"
    else:
        if rival.cost is None or found.record.cost is None or rival.cost > found.record.cost * (1.0 + _EQUAL):
            return None
        alike = f"trial {rival.number} costs the same"
    return f"{alike} {_metrics(run, found, rival)}"


def _runner_up(run: Run, found: Confirmed) -> TrialRecord | None:
    """The cheapest other trial that holds the target."""
    others = [
        record
        for record in run.usable()
        if record.feasible and record.cost is not None and record.recipe != found.record.recipe
    ]
    return min(others, key=lambda record: (record.cost, record.number), default=None)


def _metrics(run: Run, found: Confirmed, rival: TrialRecord) -> str:
    """How the two metrics compare, in words that go on after the cost."""
    mine, theirs = found.scored.samples, load_samples(samples_file(run, rival.recipe))
    if mine is None or theirs is None or mine.shape != theirs.shape:
        return f"and scores {rival.metric:g}" if rival.metric is not None else ""
    low, high = drop_interval(
        theirs,
        mine,
        relative=False,
        higher_is_better=run.inputs.evaluation.higher_is_better,
        seed=run.inputs.request.seed,
    )
    if low <= 0.0 <= high:
        return "and scores alike (paired bootstrap): which of the two was delivered is within selection noise"
    return f"and scores {'better' if low > 0.0 else 'worse'} ({rival.metric:g})"
