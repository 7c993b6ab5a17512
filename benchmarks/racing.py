"""Racing on against off: `python -m benchmarks.racing` scores the same recipes in full, and races them against 1 %.

Twelve recipes a task, from good to bad: all layers in int8 under each calibrator, per-tensor weights under three of
them, the glue in int8 too, and two random halves of the layers under the worst. They are raced in a random order, as a
study would race them: each learns from the scores of those before it. A verdict is whether the target holds; the whole
evaluation's is the true one. What a race scores in full is not scored again.

`samples` counts what was scored. The verdicts and seconds are of one such sequence, run for real. How many samples
other draws take is counted on the recorded scores, over 20 sequences, for the order as it is (`learnt`), without what
was learnt (`gainful`), and for uniform draws (`uniform`); `wrong` are the races stopped although the target holds.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from autoquant.evaluators.base import Scored
from autoquant.evaluators.bounds import draw
from autoquant.evaluators.racing import Race, Rules, race, weights
from autoquant.evaluators.session import open_session
from autoquant.strategies.base import Recipe
from autoquant.strategies.recipes import compose
from autoquant.strategies.words import ACTIVATION_SYMMETRY, CALIBRATOR, CALIBRATORS, WEIGHT_GRANULARITY, WEIGHT_SYMMETRY

from .bed import Bed
from .environment import TASKS, default_tasks, environment, folders, write
from .measure import rounded

DROP, ALPHA = 0.01, 0.01
SEQUENCES = 20
ORDERS = ("learnt", "gainful", "uniform")


def recipes(bed: Bed) -> list[Recipe]:
    """Twelve recipes; two that build the same model count once."""
    space = bed.space
    rng = np.random.default_rng(0)

    def settings(calibrator: str, granularity: str = "per_channel") -> dict[str, str]:
        return {
            CALIBRATOR: calibrator,
            ACTIVATION_SYMMETRY: "asymmetric",
            WEIGHT_GRANULARITY: granularity,
            WEIGHT_SYMMETRY: "symmetric",
        }

    made = [compose(space, settings(calibrator)) for calibrator in CALIBRATORS]
    made += [compose(space, settings(calibrator, "per_tensor")) for calibrator in ("minmax", "percentile_99.9", "mse")]
    made.append(compose(space, settings("minmax", "per_tensor"), glue=space.ops))
    layers = space.free_layers
    for calibrator in ("entropy", "percentile_99.9"):
        picked = rng.permutation(len(layers))[: len(layers) // 2]
        made.append(compose(space, settings(calibrator), floats=[layers[int(i)] for i in picked]))
    return list(dict.fromkeys(made))


class Learnt:
    """Which samples were scored otherwise than by the float model, and how often they were seen."""

    def __init__(self, baseline: np.ndarray) -> None:
        self._baseline = baseline
        self.changes = np.zeros(len(baseline))
        self.times = np.zeros(len(baseline))

    def add(self, samples: np.ndarray) -> None:
        """Scores, NaN where not scored."""
        seen = np.isfinite(samples)
        self.changes[seen] += np.abs(samples - self._baseline)[seen]
        self.times += seen


def replay(rules: Rules, scores: np.ndarray, order: str, learnt: Learnt, rng: np.random.Generator) -> tuple[int, bool]:
    """A race on recorded scores: samples seen, and whether it was stopped."""
    lows, highs = rules.bounds((0.0, 1.0))
    if order == "uniform":
        wanted = np.ones(len(lows))
    elif order == "gainful":
        wanted = weights(lows, highs)
    else:
        wanted = weights(lows, highs, learnt.changes, learnt.times)
    contest = Race(rules, lows, highs, draw(lows, wanted, rng))
    while contest.seen < len(scores) and not contest.lost:
        contest.add(scores[contest.next()])
    learnt.add(contest.stopped(0.0).samples)
    return contest.seen, contest.lost and contest.seen < len(scores)


def replays(rules: Rules, full: list[np.ndarray], holds: list[bool]) -> dict[str, dict[str, float]]:
    """Order → the part of the samples that is scored, of all recipes and of those that do not hold; `wrong`."""
    found: dict[str, dict[str, float]] = {}
    for order in ORDERS:
        part: dict[bool, list[float]] = {True: [], False: []}
        wrong = 0
        for sequence in range(SEQUENCES):
            rng = np.random.default_rng(sequence)
            learnt = Learnt(rules.baseline)
            for place in rng.permutation(len(full)):
                seen, stopped = replay(rules, full[place], order, learnt, rng)
                part[holds[place]].append(seen / len(rules.baseline))
                wrong += stopped and holds[place]
        found[order] = {
            "all": float(np.mean(part[True] + part[False])),
            "failing": float(np.mean(part[False])) if part[False] else float("nan"),
            "wrong": wrong,
        }
    return {order: {name: value for name, value in row.items() if value == value} for order, row in found.items()}


def measured(folder: Path, threads: int, say: Callable[[str], None]) -> dict[str, Any]:
    """One task."""
    bed = Bed(folder, sys.maxsize, None)
    evaluation, baseline = bed.evaluation, bed.baseline
    rules = Rules(baseline, DROP * float(baseline.mean()), evaluation.higher_is_better, ALPHA)
    evaluation.score_some(open_session(folder / "model.onnx", threads=threads), np.arange(8))  # boolean scores or not
    learnt = Learnt(baseline)
    chosen = recipes(bed)
    full, holds, rows = [], [], []
    for place in np.random.default_rng(0).permutation(len(chosen)):
        candidate = bed.builder.build(chosen[place])
        session = open_session(candidate.skeleton(), weights=candidate.weights, threads=threads)
        began = time.perf_counter()
        raced = race(evaluation, session, rules, seed=(0, int(place)), changes=learnt.changes, times=learnt.times)
        on = off = time.perf_counter() - began
        whole = raced
        if not isinstance(raced, Scored):
            began = time.perf_counter()
            whole = evaluation.score(session)
            off = time.perf_counter() - began
        assert whole.samples is not None
        drop = float(np.mean(rules.losses(whole.samples, np.arange(len(baseline))))) / float(baseline.mean())
        held = drop <= DROP + 1e-12
        stopped = not isinstance(raced, Scored)
        assert raced.samples is not None
        learnt.add(raced.samples)
        full.append(whole.samples)
        holds.append(held)
        rows.append(
            {
                "drop": drop,
                "holds": held,
                "stopped": stopped,
                "same_verdict": not (stopped and held),
                "samples": int(np.isfinite(raced.samples).sum()),
                "seconds": {"on": on, "off": off},
                **({} if isinstance(raced, Scored) else {"bound": raced.bound / baseline.mean()}),
            }
        )
        say(f"{folder.name} drop {100 * drop:.2f} %: {rows[-1]['samples']} of {len(baseline)} samples")
    return {
        "samples": len(baseline),
        "recipes": rows,
        "replays": replays(rules, full, holds),
        **summary(rows, len(baseline)),
    }


def summary(rows: list[dict[str, Any]], count: int) -> dict[str, Any]:
    """What one sequence took: the part of the samples that was scored, of all and of those that do not hold."""
    failing = [row["samples"] / count for row in rows if not row["holds"]]
    return {
        "holding": sum(row["holds"] for row in rows),
        "failing": len(failing),
        "same_verdicts": all(row["same_verdict"] for row in rows),
        "part": float(np.mean([row["samples"] / count for row in rows])),
        **({"part_of_failing": float(np.mean(failing))} if failing else {}),
        "seconds": {mode: sum(row["seconds"][mode] for row in rows) for mode in ("on", "off")},
    }


def told(arguments: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """Task → what was measured."""
    for folder in folders(arguments.tasks, arguments.only):
        yield folder.name, measured(folder, arguments.threads, lambda line: print(line, flush=True))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=Path, default=default_tasks(), help="folder of the built tasks")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("only", nargs="*", metavar="TASK", help=f"of {', '.join(TASKS)}")
    arguments = parser.parse_args()
    figures: dict[str, Any] = {**environment(), "target": f"{100 * DROP:g} %", "alpha": ALPHA, "tasks": {}}
    for task, found in told(arguments):
        figures["tasks"][task] = found
        print(task, {name: value for name, value in rounded(found, 3).items() if name != "recipes"}, flush=True)
    write("racing", rounded(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
