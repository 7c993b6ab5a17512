"""From the confirmed trial to the files and the result."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx

from ...evaluators.base import Latency
from ...evaluators.machine import versions
from ...strategies.words import TABLE
from ..graph.analysis import Analysis
from ..graph.layers import COMPUTE, RECURRENT
from ..quantization import recipefile
from ..quantization.kernels import count
from . import evidence, front, heldout, layererrors, selection, verdict
from .calibrate import CALIBRATION
from .confirm import Confirmed
from .diagnosis import Diagnosis
from .events import PhaseStarted
from .files import MODEL, RECIPE, model_bytes
from .heldout import HeldOut
from .likeness import public
from .result import Result, Tuned
from .run import Run
from .stopping import Ended


def deliver(
    run: Run,
    found: Confirmed | None,
    ended: Ended,
    held: HeldOut | None = None,
    diagnosis: Diagnosis | None = None,
) -> Result:
    """Put the files in place and say what was found.

    Args:
        held: What the held-out samples say of it.
        diagnosis: Why it does not hold the target, None where it does.

    Raises:
        OSError: They cannot be written.
    """
    run.observer(PhaseStarted("deliver"))
    inputs, request = run.inputs, run.inputs.request
    files: dict[str, Path] = {}
    said: list[str] = []
    if found is not None:
        files = _place(run, found)
        said += _checked(inputs.model.path, files["model"])
    calibration = public(run.store.get(CALIBRATION))
    said += calibration["warnings"] if calibration else []
    layers = count_layers(inputs.analysis, found.layers if found else {})
    status, why = verdict.judge(found, request.target_drop, inputs.objective, layers, ended.reason, held)
    said += verdict.warnings(found, inputs.objective, request.target_drop)
    said += heldout.warnings(held, request.target_drop)
    if found is not None and (close := selection.note(run, found)):
        said.append(close)
    return Result(
        status=status,
        why=why,
        target=request.target_drop,
        baseline_metric=run.baseline.metric,
        tuned=Tuned(found.record.number, found.scored.metric, found.drop, found.drop_ci) if found else None,
        trials=count_trials(
            run, found, (diagnosis.evaluations if diagnosis else 0) + (held.evaluations if held else 0)
        ),
        seconds=run.clock.seconds(),
        latency=_latency(run, found) if found else None,
        size={
            "baseline_bytes": inputs.model.source_bytes,
            "tuned_bytes": model_bytes(files["model"]) if found else 0,
        },
        layers=layers,
        study={"storage": run.store.shown, "name": run.store.name},
        scored_on=inputs.scored_on,
        versions=versions(),
        objective=inputs.asked,
        certificate=evidence.certified(run, found),
        front=front.delivered(run, found) if inputs.pareto else (),
        evidence=evidence.fastest(run) if status == "no_gain" else (),
        errors=layererrors.analysed(run, found),
        holdout=held.to_json() if held else None,
        diagnosis=diagnosis.to_json() if diagnosis else None,
        calibration=calibration,
        tables=count_tables(inputs.analysis, found.record.recipe if found else {}),
        warnings=tuple(said),
        files=files,
    )


def count_layers(analysis: Analysis, ran: Mapping[str, str]) -> dict[str, int]:
    """Compute layers of the float model by the precision they run in; what is not named runs in float."""
    total = len(analysis.layers) + sum(refusal.op_type in (*COMPUTE, *RECURRENT) for refusal in analysis.refusals)
    return count(ran, total)


def count_tables(analysis: Analysis, recipe: Mapping[str, str]) -> dict[str, int] | None:
    """Tables, and those of them that a recipe has on 8 bits; None where there is none."""
    names = [TABLE + table.name for table in analysis.tables]
    return {"total": len(names), "weight8": sum(recipe.get(n) == "weight8" for n in names)} if names else None


def count_trials(run: Run, found: Confirmed | None, others: float = 0.0) -> dict[str, float]:
    """Trials by state; evaluations = full-metric equivalents after the baseline, the confirmation included.

    Args:
        others: Evaluations beside trials and confirmation.
    """
    told = [record for record in run.store.trials() if record.told]
    states = {state: sum(record.state == state for record in told) for state in ("complete", "pruned", "failed")}
    whole = len(run.baseline.samples) if run.baseline.samples is not None else None
    evaluations = 0.0
    for record in told:
        if record.reused_from or record.metric is None:
            continue
        evaluations += record.samples / whole if whole and record.samples is not None else 1.0
    evaluations += others + (found is not None)
    return {"total": len(told), **states, "evaluations": round(evaluations, 3)}


def _place(run: Run, found: Confirmed) -> dict[str, Path]:
    """Move the staged model into the output folder, its external data first, and write the recipe."""
    inputs = run.inputs
    analysis, ranges = run.executor.listed(found.record.recipe)
    recipe = recipefile.to_json(
        found.record.recipe, found.candidate, analysis, ranges, inputs.target, inputs.model.fingerprint
    )
    calibration = run.store.get(CALIBRATION)
    if calibration and calibration["data_free"]:
        recipe["data_free"] = calibration["source"]
    partial = inputs.out / f".{RECIPE}.partial"
    partial.write_text(json.dumps(recipe, indent=1) + "\n")
    for path in sorted(found.folder.iterdir(), key=lambda path: path.name == MODEL):
        path.replace(inputs.out / path.name)
    shutil.rmtree(found.folder, ignore_errors=True)
    partial.replace(inputs.out / RECIPE)
    return {"model": inputs.out / MODEL, "recipe": inputs.out / RECIPE}


def _checked(source: Path, delivered: Path) -> list[str]:
    """What onnx.checker says against the delivered file and not against the given one."""
    for full in (False, True):
        if _refusal(source, full):
            return []
        why = _refusal(delivered, full)
        if why:
            return [f"onnx.checker refuses the model: {why}"]
    return []


def _refusal(path: Path, full: bool) -> str:
    """What onnx.checker says against a file, with strict shape inference if `full`; empty when it passes."""
    try:
        onnx.checker.check_model(str(path), full_check=full)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        return next(iter(str(error).splitlines()), type(error).__name__)
    return ""


def _latency(run: Run, found: Confirmed) -> dict[str, Any] | None:
    latency, alone = found.latency, found.rewrites_only
    if latency is None or run.inputs.real is None:
        return None
    return {
        "baseline_ms": round(latency.baseline_ms, 4),
        "tuned_ms": round(latency.candidate_ms, 4),
        **_speedup(latency),
        "rewrites_only": _speedup(alone) if alone else None,
        "pairs": latency.pairs,
        "device": run.inputs.real.device.name,
        "threads": run.inputs.request.threads,
        "input_shapes": {name: list(array.shape) for name, array in run.timed.items()},
    }


def _speedup(latency: Latency) -> dict[str, Any]:
    return {
        "speedup": round(latency.speedup, 4),
        "speedup_ci": [round(bound, 4) for bound in latency.speedup_ci],
    }
