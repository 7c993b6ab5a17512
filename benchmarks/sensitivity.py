"""Which label-free probe predicts the measured drop: kinds of distance × modes, on the five public tasks.

    python -m benchmarks.sensitivity --tasks DIR [--task ocr_v4 …] [--cache DIR]

Ground truth is the task's own metric on a random subset of its samples: `drop` against the float model, and `changed`,
the mean absolute change of the samples' scores. Where a drop is small, as many samples are won as lost and its sign is
noise; how many change is a smoother measure of the harm.

- `settings`: all layers in int8 under each of the 12 calibrator × symmetry settings; how the kinds rank them. It is
  what screening asks of a probe.
- `recipes`: random subsets of the layers in int8, under the setting that does most harm without ruining the model, and
  under the next one; how the probes of single layers, added up, rank them. It is what bisection and pruning ask. The
  single layers are probed under the first setting alone: `transferred` are the second one's recipes. `direct` probes
  the whole recipe, `count` is the number of int8 layers: what any sensitivity must beat.
- `fallback`: what is left of `changed` when the first 3 and 8 layers of a ranking are back in float.
- `samples`: `direct` with `distance` on fewer samples than a study's 16.

Modes, d(S) being the distance with the layers S in int8: `alone` Σ d({i}) over the int8 layers; `restored`
d(all) − Σ [d(all) − d(all but i)] over the float ones; `both` the mean of d({i}) and d(all) − d(all but i), summed over
the int8 ones; `interactions` is `alone` plus d({i, j}) − d({i}) − d({j}) of neighbours i, j that both are int8.

Correlations are Spearman's with 95 % bootstrap intervals over the recipes. --cache keeps what was measured, so that
another run only adds what is new.
"""

from __future__ import annotations

import argparse
import itertools
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from autoquant.evaluators.distances import KINDS
from autoquant.strategies.base import Recipe
from autoquant.strategies.recipes import activation_settings, compose
from autoquant.strategies.sensitivity import KIND, MODE
from autoquant.strategies.words import ACTIVATION_SYMMETRY, CALIBRATOR, WEIGHT_GRANULARITY, WEIGHT_SYMMETRY

from .bed import Bed
from .environment import default_tasks, environment, folders, write

Settings = Mapping[str, str]
EXTRA: list[Settings] = [
    {
        CALIBRATOR: calibrator,
        ACTIVATION_SYMMETRY: "asymmetric",
        WEIGHT_GRANULARITY: "per_tensor",
        WEIGHT_SYMMETRY: "symmetric",
    }
    for calibrator in ("minmax", "percentile_99.99")
]
SAMPLES = {"cls180": 1000, "ocr_v4": 150, "minilm_sentiment": 400, "effnet_lite0": 300, "ocr_v6s": 150}
RECIPES = {"recipes": 16, "transferred": 8}
FALLBACKS = (3, 8)
FALLBACK_KINDS = ("distance", "kl", "hellinger", "margin")
RUINED = 0.6
PROBE_SIZES, PICKS = (2, 4, 8, 16), 20
MODES = ("alone", "restored", "both", "interactions", "direct")
DRAWS = 1000


def spearman(one: np.ndarray, other: np.ndarray) -> float:
    """Rank correlation, ties at their mean rank; 0 where one of them is constant."""
    a, b = (rank - rank.mean() for rank in (_ranks(one), _ranks(other)))
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm else 0.0


def _ranks(values: np.ndarray) -> np.ndarray:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[place])


def correlation(one: Sequence[float], other: Sequence[float]) -> dict[str, float]:
    """Spearman's correlation and its 95 % bootstrap interval."""
    rng = np.random.default_rng(0)
    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    draws = [spearman(a[picks], b[picks]) for picks in (rng.integers(len(a), size=len(a)) for _ in range(DRAWS))]
    low, high = np.quantile(draws, [0.025, 0.975])
    return {"rho": round(spearman(a, b), 3), "low": round(float(low), 3), "high": round(float(high), 3)}


class Sensitivities:
    """The probes of single layers and of neighbours under one setting, all kinds."""

    def __init__(self, bed: Bed, settings: Settings) -> None:
        space, names = bed.space, bed.space.free_layers
        self.whole = bed.probe(compose(space, settings))
        self.ground = bed.probe(compose(space, settings, floats=names))
        self.alone = {name: bed.probe(compose(space, settings, floats=set(names) - {name})) for name in names}
        self.without = {name: bed.probe(compose(space, settings, floats=[name])) for name in names}
        self.pairs = {
            pair: bed.probe(compose(space, settings, floats=set(names).difference(pair)))
            for pair in itertools.pairwise(names)
        }

    def each(self, mode: str, kind: str) -> dict[str, float]:
        """Layer → sensitivity, without the interactions."""
        found = {}
        for name in self.alone:
            alone = self.alone[name][kind] - self.ground[kind]
            restored = self.whole[kind] - self.without[name][kind]
            found[name] = {"restored": restored, "both": (alone + restored) / 2}.get(mode, alone)
        return found

    def predict(self, mode: str, kind: str, int8: Sequence[str]) -> float:
        """The distance that a recipe of these int8 layers should make."""
        each, chosen = self.each(mode, kind), set(int8)
        if mode == "restored":
            return self.whole[kind] - sum(value for name, value in each.items() if name not in chosen)
        total = sum(each[name] for name in int8)
        if mode == "interactions":
            total += sum(
                probe[kind] - self.ground[kind] - each[one] - each[two]
                for (one, two), probe in self.pairs.items()
                if one in chosen and two in chosen
            )
        return total


def subsets(names: Sequence[str], count: int, seed: int) -> list[tuple[str, ...]]:
    """Random int8 layers: every other time half of them, else from a quarter to all but one."""
    rng = np.random.default_rng(seed)
    found = []
    for turn in range(count):
        size = len(names) // 2 if turn % 2 else int(rng.integers(len(names) // 4, len(names)))
        found.append(tuple(names[i] for i in np.sort(rng.choice(len(names), size, replace=False))))
    return found


def agreement(predicted: Sequence[float], truths: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """The correlation with each of the truths."""
    return {name: correlation(predicted, truth) for name, truth in truths.items()}


def truths_of(bed: Bed, recipes: Sequence[Recipe]) -> dict[str, list[float]]:
    """What was measured of these recipes."""
    return {
        "drop": [round(bed.drop(recipe), 4) for recipe in recipes],
        "changed": [round(bed.changed(recipe), 4) for recipe in recipes],
    }


def by_settings(bed: Bed) -> dict[str, Any]:
    """How each kind ranks the 12 settings at all-int8, and by how much its first choice is worse than the best."""
    recipes = [compose(bed.space, settings) for settings in activation_settings(bed.space)]
    truths, probes = truths_of(bed, recipes), [bed.probe(recipe) for recipe in recipes]
    found: dict[str, Any] = {}
    for kind in KINDS:
        values = [probe[kind] for probe in probes]
        regret = truths["drop"][int(np.argmin(values))] - min(truths["drop"])
        found[kind] = {**agreement(values, truths), "regret": round(regret, 4)}
    return {"measured": truths, "kinds": found}


def harmful(bed: Bed) -> list[Settings]:
    """The two settings of the largest drop that leave some of the metric."""
    drops = [(bed.drop(compose(bed.space, chosen)), chosen) for chosen in (*activation_settings(bed.space), *EXTRA)]
    usable = [(drop, chosen) for drop, chosen in drops if drop < RUINED * float(bed.baseline.mean())]
    return [chosen for _, chosen in sorted(usable, key=lambda entry: -entry[0])[:2]]


def by_recipes(bed: Bed, settings: Settings, sensitivities: Sensitivities, part: str) -> dict[str, Any]:
    """How each mode and kind rank random recipes under a setting, and `count`."""
    names = bed.space.free_layers
    chosen = subsets(names, RECIPES[part], seed=len(part))
    recipes = [compose(bed.space, settings, floats=set(names) - set(int8)) for int8 in chosen]
    truths, probes = truths_of(bed, recipes), [bed.probe(recipe) for recipe in recipes]
    rows: dict[str, Any] = {
        "settings": dict(settings),
        "measured": truths,
        "count": agreement([len(int8) for int8 in chosen], truths),
        "modes": {},
        "samples": by_samples(bed, recipes, truths["changed"]),
    }
    for mode in MODES:
        rows["modes"][mode] = {}
        for kind in KINDS:
            if mode == "direct":
                predicted = [probe[kind] for probe in probes]
            else:
                predicted = [sensitivities.predict(mode, kind, int8) for int8 in chosen]
            rows["modes"][mode][kind] = agreement(predicted, truths)
    return rows


def by_samples(bed: Bed, recipes: Sequence[Recipe], truth: Sequence[float]) -> dict[str, float]:
    """Mean correlation of the probe `distance` of whole recipes on some of its samples, over random choices of them."""
    each, rng = np.array([bed.each(recipe) for recipe in recipes]), np.random.default_rng(0)
    found = {}
    for size in PROBE_SIZES:
        picks = [rng.permutation(each.shape[1])[:size] for _ in range(PICKS)]
        values = [spearman(each[:, pick].mean(axis=1), np.asarray(truth)) for pick in picks]
        found[str(size)] = round(float(np.mean(values)), 3)
    return found


def by_fallback(bed: Bed, settings: Settings, sensitivities: Sensitivities) -> dict[str, Any]:
    """Mean change of the scores after the first fallbacks of each ranking, as a part of that of all layers in int8."""
    space = bed.space
    before = bed.changed(compose(space, settings))
    left: dict[str, Any] = {}
    for mode in ("alone", "restored", "both"):
        left[mode] = {}
        for kind in FALLBACK_KINDS:
            each = sensitivities.each(mode, kind)
            ranking = sorted(each, key=lambda name: -each[name])
            after = [bed.changed(compose(space, settings, floats=ranking[:count])) for count in FALLBACKS]
            left[mode][kind] = round(float(np.mean(after)) / before, 3) if before > 0 else None
    return left


def study(bed: Bed) -> dict[str, Any]:
    """All three questions about one task, and what a sensitivity pass costs beside an evaluation."""
    rows: dict[str, Any] = {"settings": by_settings(bed)}
    worst, next_worst = harmful(bed)
    sensitivities = Sensitivities(bed, worst)
    rows["recipes"] = by_recipes(bed, worst, sensitivities, "recipes")
    rows["transferred"] = by_recipes(bed, next_worst, sensitivities, "transferred")
    rows["fallback"] = by_fallback(bed, worst, sensitivities)
    layers = len(bed.space.free_layers)
    probe, sample = bed.seconds(compose(bed.space, worst))
    full = sample * (bed.evaluation.num_samples or 0)
    rows["cost"] = {
        "layers": layers,
        "probe_s": round(probe, 3),
        "full_evaluation_s": round(full, 2),
        "pass_over_evaluation": round(layers * probe / full, 2),
    }
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=Path, default=default_tasks())
    parser.add_argument("--task", nargs="*", default=[])
    parser.add_argument("--cache", type=Path, help="folder that keeps what was measured")
    options = parser.parse_args()
    where = environment()
    where["command"] = re.sub(r" --cache \S+", "", where["command"])  # this machine's business, like --tasks
    figures: dict[str, Any] = {**where, "default": {"mode": MODE, "kind": KIND}, "tasks": {}}
    for folder in folders(options.tasks, options.task):
        bed = Bed(folder, SAMPLES[folder.name], options.cache)
        figures["tasks"][folder.name] = {"samples": len(bed.indices), **study(bed)}
        print(folder.name, figures["tasks"][folder.name]["cost"], flush=True)
    write("sensitivity", figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
