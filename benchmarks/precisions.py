"""What each precision keeps of the metric, and what it weighs: `python -m benchmarks.precisions minilm_sentiment`.

Every layer in one precision as far as it can have it, glue in float. For the CPU: int8, weights alone on 8 bits, those
alone on 4 bits in blocks of 32 (layers other than MatMul and Gemm then on 8), rounded to nearest, with ranges of least
squared error, by GPTQ, with both; and with tables on 8 bits too. For an NPU (target qnn, simulated on float kernels):
activations of 8 and of 16 bits beside weights of 8. int8 activations take the calibrator of least distance. Latency is
against the float file, of what runs on the CPU's own kernels. Writes results/precisions.json.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from autoquant.evaluators.base import Feed
from autoquant.evaluators.latency import compare
from autoquant.evaluators.session import open_session
from autoquant.strategies.base import Recipe
from autoquant.strategies.words import (
    ACTIVATION_SYMMETRY,
    CALIBRATOR,
    CALIBRATORS,
    LAYER,
    ROUNDING,
    TABLE,
    WEIGHT_GRANULARITY,
    WEIGHT_RANGE,
    WEIGHT_SYMMETRY,
)
from autoquant.tuner.calibration.collect import collect
from autoquant.tuner.calibration.compute import compute_ranges
from autoquant.tuner.graph.analyse import analyse
from autoquant.tuner.graph.load import load
from autoquant.tuner.quantization.builder import Builder
from autoquant.tuner.quantization.kernels import count, ran
from autoquant.tuner.quantization.passes import Passes
from autoquant.tuner.study.bench import UNWANTED
from autoquant.tuner.targets import profiles

from .environment import environment, folders, task_arguments, write
from .part import opened

GLOBAL = {
    ACTIVATION_SYMMETRY: "asymmetric",
    WEIGHT_GRANULARITY: "per_channel",
    WEIGHT_SYMMETRY: "symmetric",
}


@dataclass(frozen=True)
class Form:
    """A way to quantize the whole model.

    Attributes:
        target: The runtime.
        precision: Of all layers that can have it.
        changes: Parameters beside it.
        tables: Of the tables.
    """

    target: str
    precision: str
    changes: Mapping[str, str]
    tables: str = "fp32"


_MSE, _GPTQ = {WEIGHT_RANGE: "mse"}, {ROUNDING: "gptq"}
FORMS = {
    "int8": Form("cpu", "int8", {}),
    "weight8": Form("cpu", "weight8", {}),
    "int4": Form("cpu", "int4", {}),
    "int4 asymmetric": Form("cpu", "int4", {WEIGHT_SYMMETRY: "asymmetric"}),
    "int4 mse": Form("cpu", "int4", _MSE),
    "int4 gptq": Form("cpu", "int4", _GPTQ),
    "int4 mse gptq": Form("cpu", "int4", _MSE | _GPTQ),
    "int8 tables": Form("cpu", "int8", {}, "weight8"),
    "weight8 tables": Form("cpu", "weight8", {}, "weight8"),
    "int4 mse gptq tables": Form("cpu", "int4", _MSE | _GPTQ, "weight8"),
    "W8A8": Form("qnn", "int8", {}),
    "W8A16": Form("qnn", "int16", {}),
}


class Task:
    """One model, calibrated, with a builder for each target."""

    def __init__(self, folder: Path, feeds: Sequence[Feed], threads: int) -> None:
        self.model = load(folder / "model.onnx")
        self.analysis = analyse(self.model)
        self._threads = threads
        self._opener = partial(open_session, threads=threads)
        statistics = collect(self.model, self.analysis.tensors, feeds, open_session=self._opener)
        ranges = compute_ranges(statistics)
        passes = Passes(lambda: feeds, self._opener, statistics.samples)
        self.builders = {
            name: Builder(self.model, self.analysis, ranges, profiles.get(name), passes) for name in ("cpu", "qnn")
        }

    def recipe(self, form: Form, calibrator: str) -> Recipe:
        """All layers as the form says, weights on 8 bits where it cannot be 4."""
        builder = self.builders[form.target]
        chosen: dict[str, str] = {}
        for layer in self.analysis.layers:
            wanted = form.precision
            if wanted == "int4" and layer.name in builder.unweighted["int4"]:
                wanted = "weight8"
            chosen[LAYER + layer.group] = wanted
        tables = {TABLE + table.name: form.tables for table in self.analysis.tables}
        return Recipe({**GLOBAL, CALIBRATOR: calibrator, **chosen, **tables, **form.changes})

    def built(self, form: Form, calibrator: str) -> tuple[Any, Any]:
        """The candidate, and a session of it."""
        simulated = form.target != "cpu"
        candidate = self.builders[form.target].build(self.recipe(form, calibrator), simulate=simulated)
        unwanted = UNWANTED if simulated else ()
        session = open_session(
            candidate.skeleton(), weights=candidate.weights, threads=self._threads, disabled_optimizers=unwanted
        )
        return candidate, session


def measure(folder: Path, samples: int, threads: int, pairs: int) -> dict[str, Any]:
    """The figures of one task."""
    part, feeds = opened(folder, samples, threads)
    task = Task(folder, feeds, threads)
    calibrators = {}
    for target, precision in (("cpu", "int8"), ("qnn", "int8")):
        form = Form(target, precision, {})
        far = {name: part.distance(task.built(form, name)[1]) for name in CALIBRATORS}
        calibrators[target] = min(far, key=far.__getitem__)
    found: dict[str, dict[str, Any]] = {}
    for name, form in FORMS.items():
        if form.tables != "fp32" and not task.analysis.tables:
            continue
        candidate, session = task.built(form, calibrators[form.target])
        whole = task.builders[form.target].build(task.recipe(form, calibrators[form.target]))
        found[name] = {
            "drop": round(part.drop(session), 6),
            "distance": part.distance(session),
            "size_bytes": whole.size_bytes,
            "layers": count(ran(candidate, task.analysis) if form.target == "cpu" else candidate.layers),
        }
        if pairs and form.target == "cpu":
            feed = part.evaluation.latency_feed()
            assert feed is not None  # there are calibration samples
            latency = compare(part.session, session, feed, pairs=pairs)
            found[name] |= {
                "speedup": round(latency.speedup, 3),
                "speedup_ci": [round(x, 3) for x in latency.speedup_ci],
            }
        print(folder.name, f"{name:22s}", found[name], flush=True)
    return {
        "baseline": float(np.mean(part.baseline)),
        "baseline_bytes": task.model.source_bytes,
        "samples": len(part.indices),
        "calibrators": calibrators,
        "forms": found,
    }


def main() -> None:
    """Measure and write."""
    parser = task_arguments(__doc__, 0)
    parser.add_argument("--pairs", type=int, default=41, help="of runs that are timed; 0 for none")
    given = parser.parse_args()
    tasks = {
        folder.name: measure(folder, given.samples, given.threads, given.pairs)
        for folder in folders(given.tasks, given.task)
    }
    print(write("precisions", {"environment": environment(), "threads": given.threads, "tasks": tasks}))


if __name__ == "__main__":
    main()
