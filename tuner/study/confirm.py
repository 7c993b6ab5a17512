"""The winner's last examination: the file on disk, on the target's kernels, timed afresh."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...errors import EvaluationError
from ...evaluators.base import Latency, Scored
from ...evaluators.paired import drop_interval
from ...evaluators.stopwatch import Stopwatch
from ...strategies.base import Recipe
from ...strategies.front import front
from ...strategies.polish import incumbent
from ...strategies.recipes import int8_in
from ...strategies.words import LATENCY
from ..graph.serialize import write
from ..quantization.candidate import Candidate
from ..quantization.kernels import ran
from .events import Noted, PhaseStarted, Progressed
from .files import MODEL
from .floating import differs, floated
from .provenance import stamp
from .run import Run
from .search import score
from .trial import TrialRecord

_PAIRS = 41
_TIMED = 3
_CLOSE = 1.05
_NOISE = 0.04
"""What two timings of one model may differ by; a difference that is no reason to deliver another than the incumbent."""
_WORTH = 0.03
"""A model in int8 gives way to its float form where that is faster by more than this, beyond noise."""
_TRIED = 5


@dataclass(frozen=True)
class Confirmed:
    """A trial whose file was written and examined.

    Attributes:
        folder: Where `model.onnx` (and its external data) were staged.
        scored: The metric of that file.
        drop: In the target's unit.
        drop_ci: 95 % interval of the drop on unseen data, None for eval form 1.
        latency: Against the float file, None where the target's runtime is not here.
        layers: Layer → precision it ran in, under default session options.
        holds: Whether the drop is within the target.
        noise: How far apart two evaluations of the float model lay, in the target's unit; 0 for one that repeats.
        slowdown: How much slower the float model ran while it was timed than at its calmest.
        rewrites_only: The same with every layer and all glue in float, against the float file; None where not timed or
            where the float graph is the file's.
        passed: The winner in int8 that this float model is delivered in place of.
    """

    record: TrialRecord
    candidate: Candidate
    folder: Path
    scored: Scored
    drop: float
    drop_ci: tuple[float, float] | None
    latency: Latency | None
    layers: Mapping[str, str]
    holds: bool
    noise: float
    slowdown: float
    rewrites_only: Latency | None = None
    passed: Confirmed | None = None


def confirm(run: Run) -> Confirmed | None:
    """The model to deliver, examined; None when no trial was ever scored.

    Where latency is the objective it is never slower than the float file, nor (by more than 3 %) than its own rewrites
    without int8: in place of such a winner the float form is delivered, rewritten if that is faster, else plain.
    """
    found = _winner(run)
    if found is None or found.latency is None:
        return found
    found = replace(found, rewrites_only=_rewrites_only(run, found))
    recipe = _better_in_float(run, found)
    if recipe is None or not _slower(run, found, recipe):
        return found
    told = (record for record in run.comparable() if record.recipe == recipe and record.state == "complete")
    record = next(told, None) or score(run, recipe, "confirm")
    if record.feasible:
        other = examine(run, record)
        if other.holds:
            return replace(other, rewrites_only=other.latency, passed=found)
    return replace(examine(run, found.record), rewrites_only=found.rewrites_only)  # its file lies there again


def _better_in_float(run: Run, found: Confirmed) -> Recipe | None:
    """The float recipe to deliver in place of the winner, None where the winner is worth having."""
    space, recipe, alone = run.space, found.record.recipe, found.rewrites_only
    if run.inputs.objective != "latency" or found.latency is None or not found.holds:
        return None
    low, high = found.latency.speedup_ci
    if alone is not None and alone.speedup_ci[0] > 1.0 and (low <= 1.0 or alone.speedup_ci[0] > high * (1.0 + _WORTH)):
        other = floated(space, recipe)
    elif high < 1.0:
        other = floated(space, recipe, rewritten=False)
    else:
        return None
    return other if other != recipe and not int8_in(other) else None


def _slower(run: Run, found: Confirmed, recipe: Recipe) -> bool:
    """Whether the winner is slower than a recipe where both are timed against each other, beyond noise.

    Each against the float file, one after the other, a disturbance may have met one of them alone.
    """
    real = run.inputs.real
    assert real is not None
    watch = Stopwatch(real.open(build(run, recipe)), run.timed)
    return watch.compare(real.open(found.candidate), pairs=_PAIRS).speedup_ci[1] < 1.0


def _rewrites_only(run: Run, found: Confirmed) -> Latency | None:
    """Time the winner's rewrites, and what loading folds, without int8, as the winner itself was timed."""
    recipe = floated(run.space, found.record.recipe)
    if recipe == found.record.recipe:
        return found.latency
    candidate = build(run, recipe)
    if run.inputs.real is None or not differs(run.inputs.model.path, candidate.proto):
        return None
    probed = run.history().probes.get((LATENCY, recipe))
    return run.executor.settled(run.inputs.real.open(candidate), _PAIRS, 1.0 / probed if probed else None)


def _winner(run: Run) -> Confirmed | None:
    """Examine the best trials, the cheapest first, until a file holds the target; else the best effort.

    Returns:
        None when no trial was ever scored.
    """
    run.observer(PhaseStarted("confirm"))
    told = [record for record in run.usable() if record.state in ("complete", "pruned")]
    held = _cheapest(told)
    if run.inputs.pareto:  # a point of the front, before what is cheaper by luck alone
        points = {outcome.number for outcome in front(run.history())}
        held.sort(key=lambda record: record.number not in points)
    for record in _timed_afresh(run, held)[:_TRIED]:
        found = examine(run, record)
        if found.holds:
            return found
        run.observer(Noted(f"trial {record.number} does not hold the target in its file; trying the next", True))
    # Best effort: the least drop of what is quantized at all, else of anything.
    rest = [r for r in told if r not in held and r.int8_layers] or told
    if not rest:
        return None
    return examine(run, min(rest, key=lambda r: (_likely_drop(r), r.number)))


def build(run: Run, recipe: Recipe) -> Candidate:
    """The candidate as delivered: real kernels' form, with its provenance."""
    candidate = run.executor.deliverable(recipe)
    stamp(candidate.proto, run.inputs.model, recipe, run.inputs.target)
    return candidate


def examine(run: Run, record: TrialRecord) -> Confirmed:
    """Write a trial's model and measure that file."""
    inputs = run.inputs
    folder = inputs.out / ".staged"
    folder.mkdir(exist_ok=True)
    candidate = build(run, record.recipe)
    path = folder / MODEL
    write(candidate.proto, candidate.weights, path)
    session = inputs.bench.open_delivered(path)
    scored = inputs.evaluation.score(session, progress=lambda done, total: run.observer(Progressed(done, total)))
    noise = 0.0
    if scored.metric != record.metric:
        noise = _noise(run)
    latency = (
        run.executor.settled(session, _PAIRS, record.speedup)
        if inputs.real is not None and not inputs.bench.simulated
        else None
    )
    drop = inputs.request.target_drop.drop(run.baseline.metric, scored.metric, inputs.evaluation.higher_is_better)
    return Confirmed(
        record=record,
        candidate=candidate,
        folder=folder,
        scored=scored,
        drop=drop,
        drop_ci=_interval(run, scored),
        latency=latency,
        layers=ran(path, inputs.analysis),
        holds=drop <= inputs.request.target_drop.value,
        noise=noise,
        slowdown=run.executor.slowdown(latency) if latency else 1.0,
    )


def _timed_afresh(run: Run, held: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Order the cheapest by a fresh clock: the best of many, each measured once, is flattered by its measurement.

    The search's own incumbent, which its certificate is of, comes first unless another one is faster beyond noise.
    """
    if run.inputs.objective != "latency" or len(held) < 2:
        return list(held)
    close = [r for r in held[:_TIMED] if r.cost is not None and held[0].cost and r.cost <= held[0].cost * _CLOSE]
    best = None if run.inputs.pareto else incumbent(run.history())
    close += [r for r in held if best is not None and r.number == best.number and r not in close]
    speed = {}
    for record in close:
        latency = run.executor.time(record.recipe, None)
        speed[record.number] = latency.speedup if latency else 0.0
    if best is not None and best.number in speed:
        speed[best.number] *= 1.0 + _NOISE
    close.sort(key=lambda r: -speed[r.number])
    return [*close, *(r for r in held if r not in close)]


def _noise(run: Run) -> float:
    """Score the float model again: how far the metric moves by itself.

    Raises:
        EvaluationError: Further than the target: nothing can be concluded from it.
    """
    target = run.inputs.request.target_drop
    again = run.inputs.evaluation.score(run.baseline.session, progress=None)
    noise = abs(target.drop(run.baseline.metric, again.metric, run.inputs.evaluation.higher_is_better))
    if noise > target.value:
        raise EvaluationError(
            f"the metric moves more by itself than the target allows: the float model scored {run.baseline.metric:g} "
            f"and then {again.metric:g}.\nSeed the evaluation, use more samples, or allow a larger --target-drop."
        )
    return noise


def _interval(run: Run, scored: Scored) -> tuple[float, float] | None:
    before = run.baseline.samples
    if before is None or scored.samples is None or len(before) != len(scored.samples):
        return None
    return drop_interval(
        before,
        scored.samples,
        relative=run.inputs.request.target_drop.relative,
        higher_is_better=run.inputs.evaluation.higher_is_better,
        seed=run.inputs.request.seed,
    )


def on_real_kernels(run: Run, moved: Run) -> None:
    """Score the best simulated trials again on the target's kernels, the cheapest first, until one holds."""
    done = moved.history().scored
    if run.inputs.pareto:
        for outcome in front(run.history()):
            if outcome.recipe not in done:
                score(moved, outcome.recipe, "confirm")
        return
    for record in _cheapest(run.usable())[:_TRIED]:
        if record.recipe not in done and score(moved, record.recipe, "confirm").feasible:
            break


def _likely_drop(record: TrialRecord) -> float:
    """The drop, or its estimate where a trial was stopped early."""
    drop = record.drop if record.drop_estimate is None else record.drop_estimate
    return np.inf if drop is None else drop


def _cheapest(told: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Those that hold the target, the cheapest first, the earliest among equals."""
    held = [record for record in told if record.feasible and record.cost is not None]
    return sorted(held, key=lambda record: (record.cost, record.number))
