"""`auto` against the best there is, by enumeration: `python -m benchmarks.optimality`.

A task's layers are put into a few coarse groups of neighbours in graph order, each int8 or float as one; the global
settings are fixed and the glue is float. Every one of the 2^groups recipes is scored on a part of the samples and timed
against the float file (the table, kept in the results). The target is chosen so that it binds: half of what all groups
in int8 lose, or the second least drop of the table's fast half where they lose nothing.

`auto` searches the same space with a clock of its own and never sees the table. What it delivers and the twenty best
feasible recipes of the table are then timed again, interleaved with each other: the best of many is flattered by the
one timing that chose it. `ratio` is auto's latency over the least of these.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from autoquant.evaluators.feeds import inputs_of_file, single
from autoquant.evaluators.latency import compare, measure
from autoquant.evaluators.profiling import kernel_times
from autoquant.evaluators.session import open_session
from autoquant.strategies.auto import Auto
from autoquant.strategies.base import Border, History, Outcome, Probe, Profile, Recipe, Score, Space, Stop
from autoquant.strategies.polish import incumbent
from autoquant.strategies.words import (
    ACTIVATION_SYMMETRY,
    CALIBRATOR,
    LATENCY,
    LAYER,
    PROFILE,
    WEIGHT_GRANULARITY,
    WEIGHT_SYMMETRY,
)
from autoquant.tuner.study.timing import borders, profiled

from .bed import THREADS, Bed
from .environment import default_tasks, environment, folders, write
from .measure import rounded

TASK = "minilm_sentiment"
PAIRS, PRECISION, ROUNDS, BEST = 31, 0.01, 31, 20
FIXED = {
    CALIBRATOR: "minmax",
    ACTIVATION_SYMMETRY: "asymmetric",
    WEIGHT_GRANULARITY: "per_channel",
    WEIGHT_SYMMETRY: "symmetric",
}


class Coarse:
    """A task whose layers are int8 by groups. Recipes here name the groups."""

    def __init__(self, folder: Path, count: int, samples: int, cache: Path | None) -> None:
        self.bed = Bed(folder, samples, cache)
        layers = self.bed.space.layers
        parts = np.array_split(np.arange(len(layers)), count)
        self.groups = {f"{LAYER}group_{i:02d}": [layers[k] for k in part] for i, part in enumerate(parts)}
        self._group = {layer: group for group, members in self.groups.items() for layer in members}
        offered = {name: (value,) for name, value in FIXED.items()} | dict.fromkeys(self.groups, ("int8", "fp32"))
        self.space = Space(offered, offered, dict.fromkeys(self.groups, 1.0 / count), self._borders())
        self._float = open_session(folder / "model.onnx", threads=THREADS)
        self._feed = single(self.bed.feeds[0], inputs_of_file(folder / "model.onnx"))
        self.metric = float(self.bed.baseline.mean())

    def _borders(self) -> tuple[Border, ...]:
        builder = self.bed.builder
        found = borders(builder.analysis, builder.ranges.shapes)
        return tuple(
            Border(self._group.get(border.writer, ""), self._group.get(border.reader, ""), border.elements)
            for border in found
        )

    def whole(self, recipe: Recipe) -> Recipe:
        """The recipe of all layers."""
        space = self.bed.space
        chosen = {name: values[-1] for name, values in space.offered.items()} | FIXED
        return space.canonical(chosen | {layer: recipe[group] for layer, group in self._group.items()})

    def open(self, recipe: Recipe, profile_prefix: Path | None = None) -> ort.InferenceSession:
        """A session of a recipe."""
        candidate = self.bed.builder.build(self.whole(recipe))
        weights = candidate.weights
        return open_session(candidate.skeleton(), weights=weights, threads=THREADS, profile_prefix=profile_prefix)

    def cost(self, recipe: Recipe) -> tuple[float, float]:
        """Latency relative to the float file, and half its interval relative to it."""
        timed = compare(self._float, self.open(recipe), self._feed, pairs=PAIRS, precision=PRECISION)
        return 1.0 / timed.speedup, (timed.speedup_ci[1] - timed.speedup_ci[0]) / (2.0 * timed.speedup)

    def drop(self, recipe: Recipe) -> float:
        """Relative drop on the samples."""
        return self.bed.drop(self.whole(recipe)) / self.metric

    def profile(self, recipe: Recipe) -> Profile:
        """The profile by groups."""
        builder = self.bed.builder
        kernels = kernel_times(lambda prefix: self.open(recipe, prefix), self._feed)
        found = profiled(kernels, builder.analysis, builder.model.proto.graph)
        layers: dict[str, float] = {}
        for name, ms in found.layers.items():
            layers[self._group[name]] = layers.get(self._group[name], 0.0) + ms
        return Profile(layers, found.glue, found.conversions, found.total)

    def again(self, recipes: list[Recipe]) -> list[float]:
        """Medians of all of them, timed in turns: ms."""
        sessions = [self.open(recipe) for recipe in recipes]
        times: list[list[float]] = [[] for _ in sessions]
        for number in range(ROUNDS):
            order = range(len(sessions)) if number % 2 == 0 else reversed(range(len(sessions)))
            for which in order:
                times[which].append(measure(sessions[which], self._feed, runs=3, warmup=1))
        return [statistics.median(found) for found in times]


def search(coarse: Coarse, target: float, seed: int = 0) -> tuple[Outcome | None, dict[str, int]]:
    """`auto` on the coarse space."""
    trials: list[Outcome] = []
    probes: dict[tuple[str, Recipe], float] = {}
    profiles: dict[Recipe, Profile] = {}
    while True:
        history = History(coarse.space, target, "latency", tuple(trials), dict(probes), dict(profiles), seed)
        match Auto().next(history):
            case Stop():
                spent = {"scores": len(trials), LATENCY: sum(kind == LATENCY for kind, _ in probes)}
                return incumbent(history), spent
            case Probe(kind, recipe, _) if kind == PROFILE:
                profiles[recipe] = coarse.profile(recipe)
            case Probe(kind, recipe, _) if kind == LATENCY:
                probes[kind, recipe] = coarse.cost(recipe)[0]
            case Probe(kind, recipe, _):
                probes[kind, recipe] = coarse.bed.value(kind, coarse.whole(recipe))
            case Score(recipe, phase):
                drop, (cost, noise) = coarse.drop(recipe), coarse.cost(recipe)
                metric = coarse.metric * (1.0 - drop)
                trials.append(Outcome(len(trials), recipe, "complete", metric, drop, cost, phase, noise))


def table(coarse: Coarse) -> list[dict[str, Any]]:
    """Every recipe: the groups in int8, its drop and cost."""
    rows = []
    for chosen in product(("int8", "fp32"), repeat=len(coarse.groups)):
        recipe = coarse.space.canonical(dict(zip(coarse.groups, chosen, strict=True)))
        on = "".join("1" if value == "int8" else "0" for value in chosen)
        rows.append({"int8": on, "drop": coarse.drop(recipe), "cost": coarse.cost(recipe)[0]})
        if len(rows) % 32 == 0:
            print(f"{len(rows)} of {2 ** len(coarse.groups)} recipes", flush=True)
    return rows


def binding(rows: list[dict[str, Any]]) -> float:
    """A target that not everything holds."""
    whole = float(rows[0]["drop"])
    if whole > 0:
        return whole / 2.0
    fast = sorted(row["drop"] for row in sorted(rows, key=lambda row: row["cost"])[: len(rows) // 2])
    return float(next(after for before, after in pairwise(fast) if after > before and after > 0))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=Path, default=default_tasks())
    parser.add_argument("--groups", type=int, default=8)
    parser.add_argument("--samples", type=int, default=400)
    parser.add_argument("--cache", type=Path, help="keep scores here")
    parser.add_argument("task", nargs="?", default=TASK)
    arguments = parser.parse_args()
    coarse = Coarse(folders(arguments.tasks, [arguments.task])[0], arguments.groups, arguments.samples, arguments.cache)
    rows = table(coarse)
    target = binding(rows)
    held = sorted((row for row in rows if row["drop"] <= target), key=lambda row: row["cost"])[:BEST]
    best, spent = search(coarse, target)
    assert best is not None, "auto found nothing that holds"
    recipes = [
        coarse.space.canonical(
            {g: "int8" if on == "1" else "fp32" for g, on in zip(coarse.groups, row["int8"], strict=True)}
        )
        for row in held
    ]
    timed = coarse.again([*recipes, best.recipe])
    figures = {
        **environment(),
        "task": arguments.task,
        "groups": len(coarse.groups),
        "samples": len(coarse.bed.indices),
        "target": target,
        "feasible": sum(row["drop"] <= target for row in rows),
        "recipes": len(rows),
        "auto": {
            "int8": "".join("1" if best.recipe[group] == "int8" else "0" for group in coarse.groups),
            "drop": best.drop,
            "ms": timed[-1],
            **spent,
        },
        "best": [{**row, "ms": ms} for row, ms in zip(held, timed, strict=False)],
        "ratio": timed[-1] / min(timed[:-1]),
        "table": rows,
    }
    write("optimality", rounded(figures))
    print({name: figures[name] for name in ("task", "target", "feasible", "auto", "ratio")})
    return 0


if __name__ == "__main__":
    sys.exit(main())
