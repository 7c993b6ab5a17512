"""A made study: trials of every kind, a result, and the events of a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autoquant.strategies.base import Recipe
from autoquant.tuner.study.events import (
    BaselineScored,
    Event,
    Noted,
    PhaseStarted,
    Progressed,
    SearchStarted,
    TrialFinished,
    TrialStarted,
)
from autoquant.tuner.study.request import TargetDrop
from autoquant.tuner.study.result import Result, Tuned
from autoquant.tuner.study.trial import TrialRecord

TARGET = TargetDrop(0.01, relative=True)
LAYERS = tuple(f"/stage{i // 4}/block{i % 4}/Conv" for i in range(12))


def recipe(floats: int = 0) -> Recipe:
    """All int8 but the first `floats` layers."""
    return Recipe(
        {
            "activation/calibrator": "percentile_99.99",
            "activation/symmetry": "asymmetric",
            "weight/granularity": "per_channel",
            "weight/symmetry": "symmetric",
            "op/Add": "int8",
            "op/Concat": "fp32",
            **{f"layer/{name}": "fp32" if i < floats else "int8" for i, name in enumerate(LAYERS)},
        }
    )


def trial(number: int, drop: float | None, cost: float | None, floats: int = 0, **other: Any) -> TrialRecord:
    """A trial scored in full."""
    values: dict[str, Any] = {
        "phase": "bisect",
        "recipe_hash": f"{number:016x}",
        "metric": None if drop is None else 0.7148 * (1 - drop),
        "drop": drop,
        "cost": cost,
        "constraint": None if drop is None else drop - TARGET.value,
        "speedup": None if cost is None else 1 / cost,
        "latency_ms": None if cost is None else 12.4 * cost,
        "size_bytes": 4_900_000,
        "int8_layers": len(LAYERS) - floats,
        "samples": 1490,
        "seconds": {"build": 0.03, "evaluate": 8.1},
    }
    return TrialRecord(number, recipe(floats), **{"state": "complete", **values, **other})


def trials() -> list[TrialRecord]:
    """Six trials: too lossy, hopeless, holding, pruned, failed, and the best."""
    return [
        trial(0, 0.021, 0.55, phase="screen"),
        trial(1, 0.19, 0.54, phase="screen"),
        trial(2, 0.004, 0.70, floats=6),
        trial(3, 0.02, None, floats=1, state="pruned", samples=300),
        trial(4, None, None, state="failed", error="cannot <load> it"),
        trial(5, 0.0066, 0.58, floats=3, phase="prune-back"),
    ]


def result(folder: Path = Path("m.autoquant"), **other: Any) -> Result:
    """What a run over these trials found."""
    values: dict[str, Any] = {
        "status": "met",
        "why": "trial 5 loses 0.66% of 1%.",
        "target": TARGET,
        "baseline_metric": 0.7148,
        "tuned": Tuned(5, 0.7101, 0.0066, (0.001, 0.012)),
        "trials": {"total": 6, "complete": 4, "pruned": 1, "failed": 1, "evaluations": 5.2},
        "seconds": {"total": 75.0, "baseline": 8.0, "search": 60.0},
        "latency": {
            "baseline_ms": 12.41,
            "tuned_ms": 7.2,
            "speedup": 1.724,
            "speedup_ci": [1.68, 1.76],
            "device": "cpu",
            "threads": 2,
            "input_shapes": {"x": [1, 3, 224, 224]},
        },
        "size": {"baseline_bytes": 18_600_000, "tuned_bytes": 4_900_000},
        "layers": {"total": 12, "int8": 9, "fp16": 0, "fp32": 3},
        "study": {"storage": str(folder / "study.db"), "name": "m 1% latency auto"},
        "scored_on": {"provider": "CPUExecutionProvider", "kernels": "fused", "threads": 2},
        "versions": {"autoquant": "0.1.0", "onnx": "1.23.2"},
        "objective": "latency",
        "warnings": ("Ranges come from 200 of the evaluation's own samples & <more>.",),
        "files": {name: folder / file for name, file in (("model", "model.onnx"), ("report", "report.html"))},
    }
    return Result(**{**values, **other})


def events(max_trials: int | None = 10) -> Iterator[Event]:
    """What a run over these trials tells."""
    yield PhaseStarted("load")
    yield Noted("opset lifted from 11 to 17")
    yield PhaseStarted("baseline")
    for done in (500, 1000, 1490):
        yield Progressed(done, 1490)
    yield BaselineScored(0.7148, 1490, 9.1, 12.41)
    yield PhaseStarted("calibration")
    yield Noted("no calibration() in the eval file", warning=True)
    yield Progressed(128, 128)
    yield SearchStarted(len(LAYERS), "1%", "latency", "auto", max_trials, None)
    best = None
    for record in trials():
        yield PhaseStarted("sensitivity" if record.number == 2 else "search")
        if record.number == 2:
            yield Progressed(12)
            yield PhaseStarted("search")
        yield TrialStarted(record.number, record.phase, record.int8_layers or 0, len(LAYERS), {"c": "mse"})
        yield Progressed(745, 1490)
        best = record.number if record.feasible else best
        assert record.state != "running"
        yield TrialFinished(
            record.number,
            record.state,
            record.metric,
            record.drop,
            record.cost,
            record.feasible,
            8.1,
            record.int8_layers or 0,
            record.speedup,
            best,
            record.error,
        )
    yield PhaseStarted("confirm")
    yield Progressed(1490, 1490)
    yield PhaseStarted("deliver")


def point(number: int, drop: float, cost: float) -> dict[str, Any]:
    """A point of a front."""
    return {
        "trial": number,
        "drop": drop,
        "cost": cost,
        "metric": 0.7148 * (1 - drop),
        "speedup": 1 / cost,
        "speedup_ci": [0.98 / cost, 1.02 / cost],
        "size_bytes": 4_900_000,
        "int8_layers": 9,
    }
