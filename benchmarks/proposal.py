"""What proposing and recording a trial costs in a large study: `python -m benchmarks.proposal`.

A synthetic study in SQLite: 100 layers, 8 types of glue, 2 rewrites, the global settings and a calibrator for each
layer, with 1,000 trials told and 112 probes. Each strategy goes on with it for a few trials; timed are, per trial,
reading the history, the strategy's proposal (the probes it asks for are answered, and their number is shown), and
recording the trial's start and its end. Nothing is built or evaluated. `history+` is reading it again after the end,
as the search does for the view. `processor` is this process's time for all of it, which a busy machine does not
stretch. `--open` leaves every layer's calibrator to the search, otherwise all inherit.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from autoquant.strategies import words
from autoquant.strategies.base import Probe, Recipe, Score, Space, Stop
from autoquant.strategies.recipes import compose
from autoquant.strategies.registry import NAMES, make
from autoquant.tuner.study.database import url_of
from autoquant.tuner.study.events import ignore
from autoquant.tuner.study.request import Request, TargetDrop
from autoquant.tuner.study.run import Run
from autoquant.tuner.study.store import Store
from autoquant.tuner.study.trial import Measured, recipe_hash

from .environment import environment, write
from .measure import rounded

TARGET = 0.01
SCORED_ON = {"provider": "CPUExecutionProvider", "simulated": False, "runtime": "synthetic", "threads": 2}
REFINEMENT = "auto-refinement"
"""What `auto` does when its procedures are through: a model of the drop, and TPE around the best."""
_REFINING, _AT_MOST = ("exchange", "joint"), 150
SKIPPED = ("exhaustive", "gp")
"""Enumerated, or too slow to be measured on a thousand trials (FACTS: 2.5 s an ask)."""


def make_space(layers: int, own: bool, seed: int = 0) -> Space:
    """The synthetic space; `own` offers calibrators of the layers' own."""
    names = [f"model/block.{index}/Conv" for index in range(layers)]
    choices: dict[str, tuple[str, ...]] = dict(words.GLOBAL_CHOICES)
    choices |= {f"{words.REWRITE}{name}": words.REWRITE_CHOICES for name in ("hardswish", "pad")}
    glue = ("Add", "AveragePool", "Concat", "MaxPool", "Mul", "Reshape", "Resize", "Sigmoid")
    choices |= {words.OP + name: words.GLUE_PRECISIONS for name in glue}
    offered = dict(choices)
    choices |= dict.fromkeys((words.LAYER + name for name in names), words.PRECISIONS)
    offered |= dict.fromkeys((words.LAYER + name for name in names), ("int8", "fp32"))
    calibrators = dict.fromkeys((words.CALIBRATOR_OF + name for name in names), (words.INHERIT, *words.CALIBRATORS))
    choices |= calibrators
    offered |= calibrators if own else dict.fromkeys(calibrators, (words.INHERIT,))
    raw = np.random.default_rng(seed).lognormal(0.0, 1.0, layers)
    shares = dict(zip((words.LAYER + name for name in names), (raw / raw.sum()).tolist(), strict=True))
    return Space(choices, offered, shares)


def make_store(file: Path, space: Space) -> Store:
    """The study in a file, made or found."""
    attributes: dict[str, Any] = {
        "fingerprint": {"model": "synthetic", "evaluation": "synthetic", "calibration": ""},
        "target_drop": {"value": TARGET, "relative": True},
        "build": {"target": "cpu", "weight_bits": 8},
        "objective": "ops",
    }
    return Store.create(url_of(file), "study", space, version="0", attributes=attributes)


class Problem:
    """Drop and cost of a recipe, additive in its layers, with noise that follows from the recipe."""

    def __init__(self, space: Space, seed: int = 1) -> None:
        raw = np.random.default_rng(seed).lognormal(0.0, 1.5, len(space.layers))
        self.space = space
        self.effects = dict(zip(space.layers, (10.0 * TARGET * raw / raw.sum()).tolist(), strict=True))

    def distance(self, recipe: Recipe) -> float:
        """What a probe would say."""
        scale = 1.0 + 0.3 * words.CALIBRATORS.index(recipe[words.CALIBRATOR])
        return scale * sum(self.effects[name] for name in self.space.layers if recipe[name] == "int8") + 1e-4

    def measured(self, recipe: Recipe) -> Measured:
        """What a trial would say."""
        jitter = 0.1 * TARGET * float(np.random.default_rng(zlib.crc32(recipe_hash(recipe).encode())).standard_normal())
        drop = self.distance(recipe) + jitter
        cost = sum(share * (0.0625 if recipe[name] == "int8" else 1.0) for name, share in self.space.shares.items())
        count = sum(recipe[name] == "int8" for name in self.space.layers)
        seconds = {"build": 0.02, "session": 0.05, "evaluate": 2.0, "latency": 1.0}
        return Measured(
            metric=1.0 - drop,
            drop=drop,
            cost=cost,
            size_bytes=10**7,
            int8_layers=count,
            samples=500,
            seconds=seconds,
            scored_on=SCORED_ON,
        )


def grown(store: Store, problem: Problem, trials: int) -> None:
    """Fill the study: recipes of all densities of fallbacks, and the probes of screening and sensitivity."""
    space, rng = problem.space, np.random.default_rng(2)
    seen: set[Recipe] = set()
    while len(seen) < trials:
        density = rng.uniform(0.0, 0.5)
        chosen = {name: values[int(rng.integers(len(values)))] for name, values in space.offered.items()}
        chosen |= {name: "fp32" if rng.random() < density else "int8" for name in space.layers}
        chosen[words.CALIBRATOR] = words.CALIBRATORS[int(rng.integers(2))]
        recipe = space.canonical(chosen)
        if recipe not in seen:
            seen.add(recipe)
            store.complete(store.start(recipe, "search"), problem.measured(recipe))
    settings = {name: space.offered[name][0] for name in words.GLOBAL_CHOICES}
    for calibrator in words.CALIBRATORS:
        for symmetry in words.SYMMETRIES:
            recipe = compose(space, settings | {words.CALIBRATOR: calibrator, words.ACTIVATION_SYMMETRY: symmetry})
            store.put_probe("distance", recipe, problem.distance(recipe))
    for name in space.free_layers:
        recipe = compose(space, settings, floats=[other for other in space.free_layers if other != name])
        store.put_probe("distance", recipe, problem.distance(recipe))


def measure(file: Path, space: Space, strategy: str, steps: int) -> dict[str, Any]:
    """Go on with the study in `file` by one strategy. Milliseconds."""
    problem = Problem(space)
    request = Request(Path("model.onnx"), None, TargetDrop(TARGET, True), max_trials=10**6, patience=10**6)
    bench = SimpleNamespace(scored_on=lambda: SCORED_ON)
    about = {"objective": "ops", "pareto": False, "held": None, "scored_on": SCORED_ON, "bench": bench, "real": bench}
    inputs = SimpleNamespace(request=request, **about)
    with make_store(file, space) as store:
        run = Run(cast(Any, inputs), store, space, *[cast(Any, None)] * 4, ignore, cast(Any, None))  # type: ignore[call-arg]
        proposing, asked, processor = make("auto" if strategy == REFINEMENT else strategy), 0, list[float]()
        parts: dict[str, list[float]] = {"history": [], "next": [], "start": [], "complete": [], "history+": []}
        run.history(), proposing.next(run.history())  # what a process does once: reading, importing
        for _ in range(_AT_MOST * len(space.layers)):
            if len(parts["start"]) >= steps:
                break
            began, busy = time.perf_counter(), time.process_time()
            history = run.history()
            read = time.perf_counter()
            action = proposing.next(history)
            proposed = time.perf_counter()
            if isinstance(action, Stop):
                break
            if isinstance(action, Probe):
                store.put_probe(action.kind, action.recipe, problem.distance(action.recipe))
                asked += 1
                continue
            assert isinstance(action, Score)
            told = problem.measured(action.recipe)
            starting = time.perf_counter()
            number = store.start(action.recipe, action.phase)
            started = time.perf_counter()
            store.complete(number, told)
            completed = time.perf_counter()
            run.history()
            if strategy == REFINEMENT and action.phase not in _REFINING:
                continue
            processor.append(1000 * (time.process_time() - busy))
            ends = (read - began, proposed - read, started - starting, completed - started)
            for part, seconds in zip(parts, (*ends, time.perf_counter() - completed), strict=True):
                parts[part].append(1000 * seconds)
        count = len(parts["start"])
        totals = [sum(values[i] for values in parts.values()) for i in range(count)]
        medians = {part: statistics.median(values) for part, values in parts.items() if values}
    if not totals:
        return {"trials": 0, "probes": asked}
    return {
        "trials": count,
        "probes": asked,
        "median_ms": statistics.median(totals),
        "worst_ms": max(totals),
        "processor_ms": statistics.median(processor),
        **{f"{part}_ms": value for part, value in medians.items()},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=100)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--open", action="store_true", help="calibrators of the layers' own on offer")
    parser.add_argument("--dry", action="store_true", help="write no results file")
    parser.add_argument("only", nargs="*", metavar="STRATEGY")
    arguments = parser.parse_args()
    space = make_space(arguments.layers, arguments.open)
    figures: dict[str, Any] = {**environment(), "layers": arguments.layers, "trials": arguments.trials}
    figures |= {"own_calibrators": arguments.open, "parameters": len(space.choices), "strategies": {}}
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "study.db"
        began = time.perf_counter()
        with make_store(file, space) as store:
            grown(store, Problem(space), arguments.trials)
            store.checkpoint()
        figures["recording_ms"] = 1000 * (time.perf_counter() - began) / arguments.trials
        figures["bytes_per_trial"] = file.stat().st_size / arguments.trials
        print(f"{figures['recording_ms']:.1f} ms to record one of {arguments.trials}, {file.stat().st_size} bytes")
        whole = file.read_bytes()
        for name in arguments.only or [REFINEMENT, *(name for name in NAMES if name not in SKIPPED)]:
            file.write_bytes(whole)
            figures["strategies"][name] = measure(file, space, name, arguments.steps)
            print(name, rounded(figures["strategies"][name], 3), flush=True)
    if not arguments.dry:
        write("proposal_open" if arguments.open else "proposal", rounded(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
