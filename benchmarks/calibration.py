"""Calibration: wall time against plain inference over the same samples, and peak memory at 100 and 1,000 samples.

    python benchmarks/calibration.py --tasks DIR [--task ocr_v4 …]

DIR holds the tasks as `make tasks` builds them: `<task>/model.onnx` and `<task>/eval.py` with
`calibration()`. Every figure is measured in a process of its own; the samples repeat where the task has fewer than
asked for. Prints one JSON object a line.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from itertools import cycle
from pathlib import Path

import numpy as np
from autoquant.evaluators.evaluation import load_evaluation
from autoquant.evaluators.session import open_session
from autoquant.tuner.calibration.collect import collect
from autoquant.tuner.calibration.compute import compute_ranges
from autoquant.tuner.graph.analyse import analyse
from autoquant.tuner.graph.load import load

TASKS = ("cls180", "ocr_v4", "minilm_sentiment", "effnet_lite0", "ocr_v6s")
REPEATS = 3


def feeds_of(folder: Path, samples: int) -> list[dict[str, np.ndarray]]:
    path = folder / "eval.py"
    calibration = load_evaluation(str(path), model_path=folder / "model.onnx").calibration()
    if calibration is None:
        raise SystemExit(f"{path} has no calibration()")
    given = [dict(feed) for feed in calibration]
    taken, seen = [], 0
    for feed in cycle(given):
        size = len(next(iter(feed.values())))
        part = {name: value[: samples - seen] for name, value in feed.items()}
        taken.append(part)
        seen += min(size, samples - seen)
        if seen >= samples:
            return taken
    raise SystemExit(f"{path}: calibration() yields nothing")


def one_pass(folder: Path, samples: int) -> Iterator[tuple[str, float]]:
    """What one process measures: seconds of each part, then its peak memory in MB."""
    feeds = feeds_of(folder, samples)
    model = load(folder / "model.onnx")
    tensors = analyse(model).tensors
    opener = partial(open_session, threads=2)
    start = time.perf_counter()
    statistics = collect(model, tensors, feeds, open_session=opener)
    yield "collect_s", time.perf_counter() - start
    start = time.perf_counter()
    compute_ranges(statistics)
    yield "ranges_s", time.perf_counter() - start
    yield "tensors", len(tensors)
    yield "values", sum(tensor.histogram.count for tensor in statistics.tensors.values())
    yield "peak_mb", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    session = open_session(folder / "model.onnx", threads=2)
    session.run(None, feeds[0])
    start = time.perf_counter()
    for feed in feeds:
        session.run(None, feed)
    yield "plain_s", time.perf_counter() - start


def measured(folder: Path, samples: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", str(folder), str(samples)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(answer.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=Path)
    parser.add_argument("--task", nargs="*", default=TASKS)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(dict(one_pass(Path(options.one[0]), int(options.one[1])))))
        return
    for task in options.task:
        runs = [measured(options.tasks / task, 100) for _ in range(REPEATS)]
        middle = {key: float(np.median([run[key] for run in runs])) for key in runs[0]}
        large = measured(options.tasks / task, 1000)
        row = {
            "task": task,
            "tensors": int(middle["tensors"]),
            "values_millions": round(middle["values"] / 1e6),
            "plain_s": round(middle["plain_s"], 2),
            "collect_s": round(middle["collect_s"], 2),
            "ranges_s": round(middle["ranges_s"], 2),
            "collect_over_plain": round(float(np.median([run["collect_s"] / run["plain_s"] for run in runs])), 2),
            "peak_mb_100": round(middle["peak_mb"]),
            "peak_mb_1000": round(large["peak_mb"]),
            "memory_growth": round(large["peak_mb"] / middle["peak_mb"] - 1, 3),
        }
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
