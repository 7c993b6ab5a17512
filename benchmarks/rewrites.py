"""What each rewrite of the float graph gains: in float, and with all layers on integers.

    python -m benchmarks.rewrites [--task NAME …] [--rounds 5] [--pairs 41] [--threads 2]

Float: the file as given against each rewrite alone and all of them. Integers: every layer int8 (percentile 99.99,
ranges of 16 calibration samples, glue in float and glue on integers), without rewrites against each one and all.
Timed in alternation; a figure is the median of the rounds' median ratios, beside it their lowest and highest. Building
and calibration are not timed. Writes benchmarks/results/rewrites.json.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import onnxruntime as ort
from autoquant.evaluators.base import Feed
from autoquant.evaluators.latency import compare
from autoquant.evaluators.session import open_session
from autoquant.strategies.base import Recipe
from autoquant.strategies.words import (
    ACTIVATION_SYMMETRY,
    CALIBRATOR,
    LAYER,
    OP,
    REWRITE,
    WEIGHT_GRANULARITY,
    WEIGHT_SYMMETRY,
)
from autoquant.tuner.calibration.collect import collect
from autoquant.tuner.calibration.compute import compute_ranges
from autoquant.tuner.graph.load import load
from autoquant.tuner.graph.rewrite.variants import Variants
from autoquant.tuner.graph.serialize import write as write_model
from autoquant.tuner.quantization.variants import Builders
from autoquant.tuner.targets.profiles import get

from benchmarks.environment import default_tasks, environment, folders, write
from benchmarks.measure import latency_feed, load_task

SAMPLES = 16
SETTINGS = {
    CALIBRATOR: "percentile_99.99",
    ACTIVATION_SYMMETRY: "asymmetric",
    WEIGHT_GRANULARITY: "per_channel",
    WEIGHT_SYMMETRY: "symmetric",
}


def measure(folder: Path, *, rounds: int, pairs: int, threads: int) -> dict[str, Any]:
    """All figures of one task."""
    task = load_task(folder)
    model = load(folder / "model.onnx")
    variants = Variants(model)
    feed = latency_feed(task)
    few = _first(task.calibration(), SAMPLES)
    ranges = compute_ranges(collect(model, variants.collected, few, open_session=open_session))
    builders = Builders(model, variants, ranges, get("cpu"))

    def opened(path: Path) -> ort.InferenceSession:
        return open_session(path, threads=threads)

    def built(layers: str, glue: str, rewrites: Iterable[str]) -> ort.InferenceSession:
        analysis = variants.union
        recipe = Recipe(
            SETTINGS
            | {OP + item.op_type: glue for item in analysis.glue}
            | {LAYER + group: layers for group in analysis.groups}
            | {REWRITE + name: "on" for name in rewrites}
        )
        candidate = builders.build(recipe)
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "model.onnx"
            write_model(candidate.proto, candidate.weights, path)
            return opened(path)

    sets = {**{name: [name] for name in variants.names}, "all": list(variants.names)}
    found: dict[str, Any] = {"sites": dict(variants.sites)}
    found["float"] = _against(
        opened(folder / "model.onnx"), sets, lambda s: built("fp32", "fp32", s), feed, rounds, pairs
    )
    for glue in ("fp32", "int8"):
        start = built("int8", glue, [])
        found[f"int8, glue {glue}"] = _against(
            start, sets, lambda s, glue=glue: built("int8", glue, s), feed, rounds, pairs
        )
    return found


def _against(
    baseline: ort.InferenceSession,
    sets: dict[str, list[str]],
    built: Callable[[list[str]], ort.InferenceSession],
    feed: Feed,
    rounds: int,
    pairs: int,
) -> dict[str, list[float]]:
    """Name of a set of rewrites → median, lowest and highest speed-up of the rounds."""
    figures: dict[str, list[float]] = {}
    for name, rewrites in sets.items():
        session = built(rewrites)
        ratios = [compare(baseline, session, feed, pairs=pairs).speedup for _ in range(rounds)]
        figures[name] = [round(value, 3) for value in (statistics.median(ratios), min(ratios), max(ratios))]
    return figures


def _first(feeds: Iterable[Feed], samples: int) -> list[Feed]:
    kept: list[Feed] = []
    for feed in feeds:
        kept.append(feed)
        samples -= len(next(iter(feed.values())))
        if samples <= 0:
            break
    return kept


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=Path, default=default_tasks())
    parser.add_argument("--task", nargs="*", default=[])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pairs", type=int, default=41)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    figures: dict[str, Any] = {"environment": environment(), "tasks": {}}
    for folder in folders(options.tasks, options.task):
        found = measure(folder, rounds=options.rounds, pairs=options.pairs, threads=options.threads)
        figures["tasks"][folder.name] = found
        print(folder.name, ", ".join(f"{name} {sites}" for name, sites in found["sites"].items()) or "no rewrite")
        for kind, rows in found.items():
            if kind == "sites":
                continue
            shown = ", ".join(f"{name} {row[0]:.2f}× ({row[1]:.2f} to {row[2]:.2f})" for name, row in rows.items())
            print(f"  {kind}: {shown}", flush=True)
    print(write("rewrites", figures))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
