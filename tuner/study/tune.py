"""A tuning run from the request to the result."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ... import __version__
from ...errors import OutputError
from ...evaluators.machine import versions
from ...strategies.words import REWRITE
from ..graph.rewrite.registry import ENLARGING
from ..quantization.cost import shares
from ..quantization.variants import Builders
from . import baseline as baselines
from . import calibrate as calibration
from .attributes import BUILD, FINGERPRINT, OBJECTIVE, TARGET_DROP
from .baseline import Baseline
from .bench import Bench
from .calibrate import Calibration, Found
from .clock import Clock
from .confirm import confirm, on_real_kernels
from .corrections import Computed
from .deliver import deliver
from .diagnosis import diagnose
from .events import BaselineScored, Noted, Observer, PhaseStarted, Progressed, SearchStarted, ignore
from .executor import Executor
from .files import BASELINE_SCORES, MODEL, RECIPE, model_bytes
from .fingerprint import Fingerprint
from .heldout import confirm_held
from .imported import IMPORTED_RANGES
from .inputs import Inputs, prepare
from .lock import FolderLock
from .request import Request
from .result import Result
from .run import Run
from .search import search
from .space import build_space
from .stopping import Ended
from .store import Store
from .studies import BASELINE, PARETO, RANGES_FILE, RESULT, forget, location, require_same
from .timing import borders

SECONDS = "seconds"


def tune(request: Request, observer: Observer = ignore) -> Result:
    """Search the best quantization of a model and write it, or go on where an earlier run stopped.

    Writes `model.onnx`, `recipe.json` and the study; the report is its caller's.

    Raises:
        AutoquantError: Something about the request, the model, the evaluation or the machine.
        KeyboardInterrupt: Ctrl-C; the study is whole and the same request goes on.
    """
    clock = Clock()
    observer(PhaseStarted("load"))
    inputs = prepare(request)
    for note in inputs.model.notes:
        observer(Noted(note))
    with FolderLock(inputs.out, request.command):
        if request.fresh:
            forget(inputs)
        with _open(inputs) as store:
            try:
                return _run(inputs, store, observer, clock)
            except OSError as error:
                raise OutputError(
                    f"cannot write into {inputs.out}: {error.strerror or error}.\n"
                    "The study is whole up to the last trial: mend it and run the same command again."
                ) from error
            finally:
                store.put({SECONDS: clock.seconds()})
                store.checkpoint()


def _open(inputs: Inputs) -> Store:
    """The study of this request, made or found, after its inputs were compared."""
    now = Fingerprint(
        inputs.model.fingerprint,
        inputs.evaluation.fingerprint,
        calibration.fingerprint(inputs),
        inputs.request.calibration.words(inputs.request.seed),
    )
    url = location(inputs)
    require_same(url, inputs, now)
    request = inputs.request
    # Which choices there are does not depend on ranges; which are offered does, and is settled after calibration.
    space = build_space(
        inputs.variants.union,
        inputs.target,
        rewrites=inputs.variants.names,
        calibrated=inputs.analysis.tensors,
        keep_float=request.keep_float,
        only=request.only,
        fix=request.fix,
        per_layer_calibrators=request.per_layer_calibrators,
        imported=inputs.imported is not None,
        objective=inputs.objective,
        precisions=request.precisions,
    )
    return Store.create(
        url,
        inputs.name,
        space,
        version=__version__,
        owner=str(inputs.out.resolve()),
        attributes={
            FINGERPRINT: now.to_json(),
            TARGET_DROP: {"value": request.target_drop.value, "relative": request.target_drop.relative},
            BUILD: {
                "target": inputs.target.to_json(),
                "bench": inputs.bench.simulated,
                **({RANGES_FILE: inputs.imported.digest} if inputs.imported else {}),
            },
            IMPORTED_RANGES: inputs.imported.to_json() if inputs.imported else None,
            "model": str(inputs.model.path.resolve()),
            "higher_is_better": inputs.evaluation.higher_is_better,
            OBJECTIVE: inputs.objective,
            PARETO: inputs.pareto,
            "strategy": request.strategy,
            "seed": request.seed,
            "options": {
                "keep_float": list(request.keep_float),
                "only": list(request.only),
                "fix": dict(request.fix),
                "per_layer_calibrators": request.per_layer_calibrators,
                "race": request.race,
                "alpha": request.alpha,
            },
            "layers": [layer.name for layer in inputs.analysis.layers],
            "versions": versions(),
            "command": request.command,
        },
    )


def _run(inputs: Inputs, store: Store, observer: Observer, clock: Clock) -> Result:
    clock.resume(store.get(SECONDS, {}))
    resumed = _resume(store, observer)
    there = calibration.found(inputs, store)
    measured = _baseline(inputs, store, there, observer, clock)
    done = _finished(inputs, store)
    if done is not None:
        observer(Noted("nothing left to do: this study is finished"))
        return done
    calibrated = _calibrate(inputs, store, there, measured, observer, clock)
    source = Computed(inputs, store, measured, calibrated, observer)
    run = _prepare(inputs, store, measured, calibrated, source, observer, clock, resumed)
    ended = search(run)
    if inputs.bench.simulated and inputs.real is not None:
        run, ended = _on_target(run, calibrated, source, ended)
    with clock.part("materialize"):
        found = confirm(run)
        held = confirm_held(run, found) if found else None
        result = deliver(run, found, ended, held, diagnose(run, found, ended, held))
    result = replace(result, seconds=clock.seconds())
    store.put({RESULT: {"result": result.to_json(), "ended": ended.by, **_rules(inputs)}})
    return result


def _resume(store: Store, observer: Observer) -> int:
    """Take over what a dead process left; the number of trials that are there."""
    for number, _ in store.reclaim():
        observer(Noted(f"trial {number} was cut off by the end of an earlier run and will be tried again"))
    there = sum(record.told for record in store.trials())
    if there:
        observer(Noted(f"resuming the study {store.name!r}: {there} trials are there"))
    return there


def _baseline(inputs: Inputs, store: Store, there: Found, observer: Observer, clock: Clock) -> Baseline:
    """The float model's score: from the study (a few samples checked again), else measured."""
    observer(PhaseStarted("baseline"))
    here = inputs.scored_on
    known: dict[str, Any] | None = store.inherited(BASELINE, lambda held: held["scored_on"] == here)
    samples = baselines.load_samples(inputs.file(BASELINE_SCORES))
    with clock.part("baseline"):
        complete = known is not None and (samples is not None or known["samples"] is None)
        if known is not None and complete and not calibration.to_record(inputs, there, needed=True):
            measured = baselines.recheck(inputs, known["metric"], samples, known["seconds"])
        else:
            record = calibration.to_record(inputs, there, needed=False)
            measured = baselines.measure(inputs, lambda done, total: observer(Progressed(done, total)), record=record)
            if measured.samples is not None:
                baselines.save_samples(inputs.file(BASELINE_SCORES), measured.samples)
    count = None if measured.samples is None else len(measured.samples)
    store.put({BASELINE: {"metric": measured.metric, "samples": count, "seconds": measured.seconds, "scored_on": here}})
    observer(BaselineScored(measured.metric, count, measured.seconds))
    return measured


def _calibrate(
    inputs: Inputs, store: Store, there: Found, measured: Baseline, observer: Observer, clock: Clock
) -> Calibration:
    observer(PhaseStarted("calibration"))
    with clock.part("calibration"):
        return calibration.calibrate(inputs, store, there, measured, lambda done: observer(Progressed(done)), observer)


def _prepare(
    inputs: Inputs,
    store: Store,
    measured: Baseline,
    calibrated: Calibration,
    source: Computed,
    observer: Observer,
    clock: Clock,
    resumed: int,
) -> Run:
    request, ranges = inputs.request, calibrated.ranges
    builder = Builders(inputs.model, inputs.variants, ranges, inputs.target, source)
    space = build_space(
        inputs.variants.union,
        inputs.target,
        shares(inputs.analysis, inputs.model, ranges.shapes, inputs.objective),
        rewrites=inputs.variants.names,
        # Where no clock decides, nothing is made larger on a mere expectation.
        doubtful=() if inputs.objective == "latency" else ENLARGING,
        calibrated=builder.calibrated,
        faulty=builder.faults,
        scalable=builder.scalable,
        keep_float=request.keep_float,
        only=request.only,
        fix=request.fix,
        per_layer_calibrators=request.per_layer_calibrators,
        imported=inputs.imported is not None,
        objective=inputs.objective,
        precisions=request.precisions,
        unweighted=builder.unweighted,
    )
    rewritten = builder.builder({REWRITE + name: "on" for name in inputs.variants.names})
    space = replace(space, borders=borders(rewritten.analysis, rewritten.ranges.shapes))
    executor = Executor(inputs, builder, ranges, measured, calibrated.probes, calibrated.timed)
    observer(
        SearchStarted(
            layers=len(inputs.analysis.layers),
            target=str(request.target_drop),
            objective=inputs.asked,
            strategy=request.strategy,
            max_trials=request.max_trials,
            timeout=request.timeout,
            resumed=resumed,
        )
    )
    run = Run(inputs, store, space, executor, measured, ranges, calibrated.timed, observer, clock, resumed)
    elsewhere = resumed - len(run.comparable())
    if elsewhere > 0:
        observer(
            Noted(f"{elsewhere} trials were scored on other kernels, samples or another machine: not compared", True)
        )
    return run


def _on_target(run: Run, calibrated: Calibration, source: Computed, ended: Ended) -> tuple[Run, Ended]:
    """Move to the target's own kernels: simulated scores screen, real ones decide.

    The best simulated trials are scored again there; where none holds, the search goes on there.
    """
    inputs = run.inputs
    assert inputs.real is not None
    inputs = replace(inputs, bench=Bench.on(inputs.real.device, inputs.target, inputs.request.threads))
    run.observer(Noted("scoring the best trials again on the target's own kernels"))
    measured = baselines.measure(inputs, lambda done, total: run.observer(Progressed(done, total)), record=0)
    moved = _prepare(inputs, run.store, measured, calibrated, source, run.observer, run.clock, run.resumed)
    on_real_kernels(run, moved)
    if moved.history().best is None and not ended.spent:
        ended = search(moved)
    return moved, ended


def _rules(inputs: Inputs) -> dict[str, Any]:
    """What beside inputs, target and objective decides a result: with another of these the search goes on."""
    request = inputs.request
    return {
        "strategy": request.strategy,  # part of a study's usual name, as the next four, but a name can be given
        "seed": request.seed,
        "keep_float": sorted(request.keep_float),
        "only": sorted(request.only),
        "fix": dict(sorted(request.fix.items())),
        "precisions": sorted(request.precisions) or None,
        "max_trials": request.max_trials,
        "stop": None if request.stop == "best" else request.stop,
        "patience": request.patience,
        "samples": inputs.scored_on.get("samples"),  # set by --holdout
    }


def _finished(inputs: Inputs, store: Store) -> Result | None:
    """The stored result, where this request would only find it again."""
    held = store.get(RESULT)
    if held is None or held["ended"] == "timeout":
        return None
    if any(held.get(rule) != asked for rule, asked in _rules(inputs).items()):
        return None
    files = {name: inputs.out / file for name, file in (("model", MODEL), ("recipe", RECIPE))}
    result = Result.from_json(held["result"], files)
    if not all(path.exists() for path in files.values()):
        return None
    return result if model_bytes(files["model"]) == result.size["tuned_bytes"] else None
