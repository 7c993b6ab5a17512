"""A second, independent look at a model on a task: metric, latency against the float model, what ran on integers.

Nothing here comes from autoquant; a benchmark must not believe what it measures. As a program:
`python -m benchmarks.measure TASK_FOLDER MODEL` prints one JSON object.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import statistics
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

INTEGER_KERNELS = {
    "ConvInteger", "DynamicQuantizeMatMul", "MatMulInteger", "MatMulIntegerToFloat", "QAttention", "QGemm",
    "QLinearConv", "QLinearMatMul",
}  # fmt: skip
FLOAT_KERNELS = {"Attention", "Conv", "ConvTranspose", "FusedConv", "FusedGemm", "FusedMatMul", "Gemm", "MatMul"}


def load_task(folder: Path) -> ModuleType:
    """The task's eval.py."""
    spec = importlib.util.spec_from_file_location(f"{folder.name}_eval", folder / "eval.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def open_session(path: Path, threads: int) -> ort.InferenceSession:
    """A session on the CPU whose workers rest between runs: another session's clock must not feel them."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def latency_feed(task: ModuleType) -> dict[str, np.ndarray]:
    """The first calibration sample alone."""
    feed = next(iter(task.calibration()))
    return {name: np.ascontiguousarray(array[:1]) for name, array in feed.items()}


def compare(
    baseline: ort.InferenceSession, model: ort.InferenceSession, feed: dict[str, np.ndarray], pairs: int
) -> dict[str, Any]:
    """Time both in alternation, each first every other time.

    Returns:
        baseline_ms, model_ms (medians), speedup (median of the pairs' ratios) and speedup_ci (its 95 % interval from
        order statistics, which assumes nothing about the distribution).
    """
    for _ in range(5):
        baseline.run(None, feed)
        model.run(None, feed)
    times: dict[int, list[float]] = {0: [], 1: []}
    for pair in range(pairs):
        order = (0, 1) if pair % 2 == 0 else (1, 0)
        for which in order:
            session = (baseline, model)[which]
            start = time.perf_counter()
            session.run(None, feed)
            times[which].append(1000 * (time.perf_counter() - start))
    ratios = sorted(one / other for one, other in zip(times[0], times[1], strict=True))
    outside = max(0, math.floor(pairs / 2 - 0.98 * math.sqrt(pairs)))
    return {
        "baseline_ms": statistics.median(times[0]),
        "model_ms": statistics.median(times[1]),
        "speedup": statistics.median(ratios),
        "speedup_ci": [ratios[outside], ratios[-1 - outside]],
        "pairs": pairs,
    }


def kernels(path: Path) -> dict[str, int]:
    """Compute operators that ran on integers and in float, in the graph that ONNX Runtime makes by default."""
    with tempfile.TemporaryDirectory() as scratch:
        optimized = Path(scratch) / "optimized.onnx"
        options = ort.SessionOptions()
        options.log_severity_level = 4  # it warns that an optimized graph fits this machine only: so it shall
        options.optimized_model_filepath = str(optimized)
        ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        operators = [node.op_type for node in onnx.load(optimized, load_external_data=False).graph.node]
    return {
        "int8": sum(operator in INTEGER_KERNELS for operator in operators),
        "float": sum(operator in FLOAT_KERNELS for operator in operators),
    }


def file_bytes(path: Path) -> int:
    """Size of a model, external data beside it included."""
    return sum(part.stat().st_size for part in {path, path.with_name(f"{path.name}.data")} if part.exists())


def measure(folder: Path, path: Path, *, threads: int = 2, pairs: int = 41) -> dict[str, Any]:
    """Everything about `path` on the task in `folder`."""
    task = load_task(folder)
    baseline, model = open_session(folder / "model.onnx", threads), open_session(path, threads)
    timed = compare(baseline, model, latency_feed(task), pairs)
    metrics = {}
    for name, session in {"baseline": baseline, "metric": model}.items():
        metrics[name] = float(np.mean(task.score(session, range(task.num_samples))))
    return {
        **metrics,
        "relative_drop": (metrics["baseline"] - metrics["metric"]) / metrics["baseline"],
        "latency": {**timed, "threads": threads},
        "kernels": kernels(path),
        "bytes": file_bytes(path),
        "baseline_bytes": file_bytes(folder / "model.onnx"),
        "samples": task.num_samples,
    }


def rounded(figures: Any, digits: int = 4) -> Any:
    """The same figures with floats to `digits` significant digits, for files that people read."""
    if isinstance(figures, float):
        return float(f"{figures:.{digits}g}")
    if isinstance(figures, dict):
        return {name: rounded(value, digits) for name, value in figures.items()}
    if isinstance(figures, (list, tuple)):
        return [rounded(value, digits) for value in figures]
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=41)
    arguments = parser.parse_args()
    figures = measure(arguments.folder, arguments.model, threads=arguments.threads, pairs=arguments.pairs)
    print(json.dumps(rounded(figures), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
