"""The search loop: asks the strategy, carries out, records."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ...errors import AutoquantError, EvaluationError, ModelError
from ...evaluators.base import Scored
from ...strategies.base import Action, History, Probe, Recipe, Score, Stop
from ...strategies.registry import make
from ...strategies.words import CALIBRATOR_OF, INHERIT, LATENCY, LAYER, OP, PROFILE
from . import stopping
from .baseline import load_samples, save_samples
from .events import Phase, PhaseStarted, Progressed, TrialFinished, TrialStarted
from .executor import Attempt
from .files import SCORES
from .run import Run
from .shield import shielded
from .stopping import Ended, OutOfTime
from .trial import TrialRecord, recipe_hash
from .warm import PHASE, recipes

_FAILURES = 3


def search(run: Run) -> Ended:
    """Do what the strategy says until it stops or the budget is spent.

    Raises:
        EvaluationError: The first trials all failed in the user's code.
    """
    request = run.inputs.request
    strategy = make(request.strategy)
    warm = recipes(run)
    probed = 0
    phase: Phase = "load"
    while True:
        history = run.history()
        if (ended := stopping.due(run, history)) is not None:
            return ended
        known = next((recipe for recipe in warm if recipe not in history.scored), None)
        action = Score(known, PHASE) if known else strategy.next(history)
        wanted = _phase(action)
        if wanted != phase and not isinstance(action, Stop):
            phase = wanted
            run.observer(PhaseStarted(phase))
        match action:
            case Stop(reason):
                return Ended("strategy", reason)
            case Probe():
                if not stopping.fits(run, 0.0):
                    return stopping.over(run)
                with run.clock.part(phase):
                    _probe(run, action)
                probed += 1
                run.observer(Progressed(probed))
            case Score(recipe, word):
                if not stopping.fits(run, stopping.expected(run)):
                    return stopping.over(run)
                try:
                    with run.clock.part("search"):
                        score(run, recipe, word, history, stopping.watched(run))
                except OutOfTime:
                    return stopping.over(run)


def _phase(action: Action) -> Phase:
    """What an action is about, as people are told."""
    if not isinstance(action, Probe):
        return "search"
    return "speed" if action.kind in (LATENCY, PROFILE) else "sensitivity"


def _probe(run: Run, wanted: Probe) -> None:
    """Measure and record a probe, together with the machine where it needs the clock."""
    recipe, kind = wanted.recipe, wanted.kind
    if kind == PROFILE:
        run.store.put_profile(recipe, run.executor.profile(recipe), run.clocked_on)
    else:
        value = run.executor.probe(kind, recipe, wanted.beat)
        run.store.put_probe(kind, recipe, value, run.clocked_on if kind == LATENCY else None)


def score(
    run: Run,
    recipe: Recipe,
    phase: str,
    history: History | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> TrialRecord:
    """Score a recipe: one trial, told whatever happens."""
    progress = progress or (lambda done, total: run.observer(Progressed(done, total)))
    if history is not None and recipe in history.scored:
        raise RuntimeError(f"strategy {run.inputs.request.strategy!r} asked for a recipe twice: {recipe!r}")
    began = time.monotonic()
    number: int | None = None
    failure: AutoquantError | None = None
    try:
        with shielded():  # so that an interrupt finds the number
            number = run.store.start(recipe, phase)
        layers = len(run.inputs.analysis.layers)
        run.observer(TrialStarted(number, phase, _int8(run, recipe), layers, _settings(recipe)))
        known, origin = _known(run, recipe)
        try:
            place = _learn(run)
            attempt = run.executor.score(recipe, place, progress, known)
        except (EvaluationError, ModelError) as error:
            failure = error
            record = run.store.fail(number, str(error).splitlines()[0])
        else:
            record = _told(run, number, recipe, attempt, origin)
    except BaseException:  # whatever ends the run, Ctrl-C first of all, the trial is told before it goes on
        if number is not None:
            run.store.fail(number, "interrupted: the run was stopped", interrupted=True)
        raise
    _finished(run, record, began)
    if failure is not None:
        _give_up(run, failure)
    return record


def samples_file(run: Run, recipe: Recipe) -> Path:
    """Where the per-sample scores of a recipe lie, beside the study."""
    kind = "simulated" if run.inputs.bench.simulated else "fused"
    return run.inputs.file(f"{SCORES}/{recipe_hash(recipe)}.{kind}.npy")


def _partial_file(run: Run, recipe: Recipe) -> Path:
    """Where the scores of a pruned trial's recipe lie: apart, they are no full score."""
    path = samples_file(run, recipe)
    return path.with_name(f"{path.stem}.partial{path.suffix}")


def _learn(run: Run) -> int:
    """Let the races see what earlier trials scored; how many there are, which an interruption does not change."""
    usable = run.comparable()
    told = {record.number: record for record in usable if record.samples is not None}
    for number in run.executor.racer.unknown(told):
        record = told[number]
        path = (_partial_file if record.state == "pruned" else samples_file)(run, record.recipe)
        run.executor.racer.learn(number, load_samples(path))
    return len(usable)


def _told(run: Run, number: int, recipe: Recipe, attempt: Attempt, origin: str) -> TrialRecord:
    if attempt.samples is not None:
        path = _partial_file(run, recipe) if attempt.pruned else samples_file(run, recipe)
        path.parent.mkdir(exist_ok=True)
        save_samples(path, attempt.samples)
    if attempt.pruned:
        return run.store.prune(number, attempt.measured)
    return run.store.complete(number, replace(attempt.measured, reused_from=origin))


def _known(run: Run, recipe: Recipe) -> tuple[Scored | None, str]:
    """A full score of the recipe from a sibling study, and where it comes from."""
    found = run.store.find(recipe, run.inputs.scored_on)
    if found is None:
        return None, ""
    study, record = found
    assert record.metric is not None
    samples = load_samples(samples_file(run, recipe))
    return Scored(record.metric, samples, 0.0), f"{study}#{record.number}"


def _int8(run: Run, recipe: Recipe) -> int:
    return sum(recipe.get(LAYER + layer.group) == "int8" for layer in run.inputs.analysis.layers)


def _settings(recipe: Recipe) -> dict[str, str]:
    settings = {
        name: value
        for name, value in recipe.items()
        if not name.startswith((LAYER, OP)) and not (name.startswith(CALIBRATOR_OF) and value == INHERIT)
    }
    return {**settings, "glue": ", ".join(recipe.glue("int8")) or "float"}


def _finished(run: Run, record: TrialRecord, began: float) -> None:
    best = run.history().best
    run.observer(
        TrialFinished(
            number=record.number,
            state="failed" if record.state == "running" else record.state,
            metric=record.metric,
            drop=record.drop,
            cost=record.cost,
            feasible=record.feasible,
            seconds=time.monotonic() - began,
            int8_layers=record.int8_layers or 0,
            speedup=record.speedup,
            best=best.number if best else None,
            error=record.error,
            reused=bool(record.reused_from),
            samples=record.samples,
        )
    )


def _give_up(run: Run, error: AutoquantError) -> None:
    """Raise the error when nothing but failures has come back: the cause is the code, not the recipe."""
    told = run.comparable()
    if isinstance(error, EvaluationError) and len(told) >= _FAILURES and all(r.state == "failed" for r in told):
        raise error
