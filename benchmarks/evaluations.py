"""Evaluations until the target is held at little cost: `python -m benchmarks.evaluations`, over strategies and seeds.

A run has arrived at its first trial that loses at most 1 % and has at least 90 % of the model's bit operations' saving
of all layers in int8 (objective ops, so that no clock decides). Just holding 1 % is no feat: half of the layers in
float nearly always do. A run that has not arrived after 200 trials counts as 200. Each trial is a real model scored on
the same part of the task's samples, none is raced; probes are not counted, their seconds are, in evaluations of that
part.

Rows of tasks that a command does not name stay as an earlier one wrote them; each row says which command, revision and
day it is of.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from autoquant.strategies.base import History, Outcome, Probe, Recipe, Score, Space, Stop
from autoquant.strategies.recipes import compose
from autoquant.strategies.registry import make
from autoquant.strategies.words import LAYER
from autoquant.tuner.quantization.cost import ops, shares

from .bed import Bed
from .environment import RESULTS, default_tasks, environment, folders, write
from .measure import rounded

DROP, SAVING, MOST = 0.01, 0.9, 200
TASKS = ("cls180", "minilm_sentiment")
STRATEGIES = ("auto", "informed", "random", "tpe")


class Counted:
    """A task's recipes, scored and priced."""

    def __init__(self, bed: Bed) -> None:
        self._bed = bed
        builder = bed.builder
        self._shapes = builder.ranges.shapes
        parts = shares(builder.analysis, builder.model, self._shapes, "ops")
        self.space = Space(bed.space.choices, bed.space.offered, parts)
        least = self.cost(compose(self.space, {}))
        self.enough = 1.0 - SAVING * (1.0 - least)
        self._metric = float(bed.baseline.mean())

    def cost(self, recipe: Recipe) -> float:
        """Bit operations relative to float."""
        analysis = self._bed.builder.analysis
        layers = {layer.name: recipe[LAYER + layer.group] for layer in analysis.layers}
        return ops(analysis, self._shapes, layers, self._bed.builder.target.weight_bits)

    def run(self, strategy: str, seed: int) -> dict[str, Any]:
        """One run until it arrives, ends or has spent its trials."""
        chosen = make(strategy)
        trials: list[Outcome] = []
        probes: dict[tuple[str, Recipe], float] = {}
        while len(trials) < MOST:
            history = History(self.space, DROP, "ops", tuple(trials), dict(probes), seed=seed)
            action = chosen.next(history)
            if isinstance(action, Stop):
                break
            if isinstance(action, Probe):
                probes[action.kind, action.recipe] = self._bed.value(action.kind, action.recipe)
                continue
            assert isinstance(action, Score)
            cost = self.cost(action.recipe)
            # A uniform draw looks at no score: what costs too much has not arrived, whatever it loses.
            needless = strategy == "random" and cost > self.enough
            drop = 1.0 if needless else self._bed.drop(action.recipe) / self._metric
            trials.append(
                Outcome(len(trials), action.recipe, "complete", self._metric * (1 - drop), drop, cost, action.phase)
            )
            if drop <= DROP and cost <= self.enough:
                return {"evaluations": len(trials), "arrived": True, "probes": len(probes)}
        return {"evaluations": MOST, "arrived": False, "probes": len(probes)}


def parts(chosen: list[str], usual: int) -> dict[str, int]:
    """Task → samples, of `TASK` or `TASK=SAMPLES`."""
    split = [word.partition("=") for word in chosen]
    return {task: int(samples) if samples else usual for task, _, samples in split}


def earlier() -> list[dict[str, Any]]:
    """The rows of the results file, none where there is none."""
    path = RESULTS / "evaluations.json"
    return list(json.loads(path.read_text())["rows"]) if path.exists() else []


def merged(rows: list[dict[str, Any]], figures: dict[str, Any]) -> dict[str, Any]:
    """These figures with the rows of their tasks; of other tasks the rows that the file of figures held stay."""
    origin = {key: figures[key] for key in ("date", "command", "revision")}
    new = {row["task"] for row in rows}
    kept = [row for row in figures["rows"] if row["task"] not in new]
    return {**figures, "rows": [*kept, *({**row, **origin} for row in rows)]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=Path, default=default_tasks())
    parser.add_argument("--samples", type=int, default=400, help="of a task that names no number")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cache", type=Path, help="keep what was measured here: a second run then takes seconds")
    parser.add_argument("only", nargs="*", metavar="TASK[=SAMPLES]", help=f"default: {', '.join(TASKS)}")
    arguments = parser.parse_args()
    figures: dict[str, Any] = {**environment(), "rows": earlier()}
    samples = parts(arguments.only or list(TASKS), arguments.samples)
    for folder in folders(arguments.tasks, list(samples)):
        rows = []
        bed = Bed(folder, samples[folder.name], arguments.cache)
        counted = Counted(bed)
        probe, sample = bed.seconds(compose(counted.space, {}))
        for strategy in STRATEGIES:
            runs = [counted.run(strategy, seed) for seed in range(arguments.seeds)]
            row = {
                "task": folder.name,
                "strategy": strategy,
                "samples": len(bed.indices),
                "median": statistics.median(run["evaluations"] for run in runs),
                "evaluations": [run["evaluations"] for run in runs],
                "arrived": sum(run["arrived"] for run in runs),
                "probes": statistics.median(run["probes"] for run in runs),
                "probe_in_evaluations": probe / (sample * len(bed.indices)),
            }
            rows.append(rounded(row))
            print(row, flush=True)
        figures = merged(rows, figures)
        write("evaluations", figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
