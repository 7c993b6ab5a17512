"""What corrections bring, and scaled channels: `python -m benchmarks.corrections minilm_sentiment --samples 400`.

All layers in int8, glue in float, under the calibrator of least distance. For each of several disjoint parts of the
calibration samples: the drop and the output distance of every combination of corrections, the distance with nothing
but the weights rounded, and what each correction costs in seconds against one evaluation. Writes
results/corrections_<task>[_<calibrator>][_per_tensor].json, unless --only picks combinations by name (`bias`,
`gptq+bias`, …).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from autoquant.evaluators.base import Feed
from autoquant.evaluators.session import open_session
from autoquant.strategies.base import Recipe
from autoquant.strategies.recipes import activation_settings, compose
from autoquant.strategies.words import (
    ACTIVATION_SYMMETRY,
    BIAS,
    BIASES,
    CALIBRATOR,
    CALIBRATORS,
    EMPIRICAL,
    EQUALIZATION,
    GLOBAL_CHOICES,
    GRANULARITIES,
    LAYER,
    ROUNDING,
    ROUNDINGS,
    SMOOTH,
    SYMMETRIES,
    UNCORRECTED,
    WEIGHT_GRANULARITY,
    WEIGHT_RANGE,
    WEIGHT_RANGES,
)
from autoquant.tuner.calibration.collect import collect
from autoquant.tuner.calibration.compute import compute_ranges
from autoquant.tuner.graph.analyse import analyse
from autoquant.tuner.graph.load import load
from autoquant.tuner.quantization import halves
from autoquant.tuner.quantization.passes import Passes
from autoquant.tuner.quantization.variants import Builders
from autoquant.tuner.study.bench import UNWANTED
from autoquant.tuner.study.space import build_space
from autoquant.tuner.targets import profiles

from .environment import environment, folders, task_arguments, write
from .part import opened

NONE = dict(UNCORRECTED)
SCALED = [{EQUALIZATION: "on"}, {SMOOTH: "0.5"}, {SMOOTH: "auto"}, {EQUALIZATION: "on", SMOOTH: "auto"}]
MENDED = [{BIAS: "on"}, {ROUNDING: "gptq"}, {ROUNDING: "gptq", BIAS: "on"}]
COMBINATIONS = [
    *(
        {**NONE, **dict(zip((WEIGHT_RANGE, ROUNDING, BIAS), chosen, strict=True))}
        for chosen in product(WEIGHT_RANGES, ROUNDINGS, BIASES[:2])
    ),
    {**NONE, BIAS: EMPIRICAL},
    *({**NONE, **scaled} for scaled in SCALED),
    *({**NONE, **SCALED[-1], **mended} for mended in MENDED),
]


def named(corrections: dict[str, str]) -> str:
    """A combination in one word."""
    words = [corrections[WEIGHT_RANGE]] if corrections[WEIGHT_RANGE] != "minmax" else []
    words += [corrections[ROUNDING]] if corrections[ROUNDING] != "nearest" else []
    words += [{"on": "bias", EMPIRICAL: "measured bias"}[corrections[BIAS]]] if corrections[BIAS] != "off" else []
    words += ["equalized"] if corrections[EQUALIZATION] == "on" else []
    words += [f"smooth {corrections[SMOOTH]}"] if corrections[SMOOTH] != "off" else []
    return "+".join(words) or "none"


class Built:
    """One part of the calibration samples, and what is built from it."""

    def __init__(self, folder: Path, feeds: Sequence[Feed], granularity: str, threads: int) -> None:
        path = folder / "model.onnx"
        self._path, self._threads, self._granularity = path, threads, granularity
        self._model = load(path)
        self._analysis = analyse(self._model)
        self._opener = partial(open_session, threads=threads, disabled_optimizers=UNWANTED)
        self._feeds = feeds
        self._statistics = collect(self._model, self._analysis.tensors, feeds, open_session=self._opener)
        self._ranges = compute_ranges(self._statistics)
        self.builder, self.passes = self.fresh()
        self.space = build_space(
            self._analysis, profiles.get("cpu"), calibrated=set(self._ranges.values), faulty=self.builder.faults
        )

    def fresh(self) -> tuple[Builders, Passes]:
        """A builder that has computed nothing yet."""
        passes = Passes(lambda: self._feeds, self._opener, self._statistics.samples)
        return Builders(self._model, self._analysis, self._ranges, profiles.get("cpu"), passes), passes

    def recipe(self, settings: dict[str, str], corrections: dict[str, str]) -> Recipe:
        """All layers in int8."""
        return compose(self.space, {**settings, WEIGHT_GRANULARITY: self._granularity, **corrections})

    def weights_only(self, recipe: Recipe) -> Any:
        """A session of the float model with a recipe's rounded weights."""
        candidate = halves.weights_only(self.builder.build(recipe, simulate=True))
        return open_session(candidate.skeleton(), weights=candidate.weights, threads=self._threads)

    def session(self, recipe: Recipe) -> Any:
        """A session of a recipe's model."""
        candidate = self.builder.build(recipe)
        return open_session(candidate.skeleton(), weights=candidate.weights, threads=self._threads)


def measure(
    folder: Path,
    samples: int,
    parts: int,
    granularity: str,
    fixed: Mapping[str, str],
    threads: int,
    combinations: Sequence[dict[str, str]] = COMBINATIONS,
) -> dict[str, Any]:
    """The figures of one task; `fixed` are activation settings that are not chosen by distance."""
    task, feeds = opened(folder, samples, threads)
    began = time.perf_counter()
    baseline = float(np.mean(task.baseline))
    assert task.evaluation.num_samples is not None
    seconds = {"evaluation": (time.perf_counter() - began) * task.evaluation.num_samples / len(task.indices)}
    order = np.random.default_rng(0).permutation(len(feeds))
    found: dict[str, list[dict[str, float]]] = {named(corrections): [] for corrections in combinations}
    settings: dict[str, str] = {}
    for number in range(parts):
        part = Built(folder, [feeds[i] for i in np.sort(order[number::parts])], granularity, threads)
        if not settings:
            tried = [
                (task.distance(part.session(part.recipe(candidate, NONE))), place, candidate)
                for place, candidate in enumerate(activation_settings(part.space))
                if fixed.items() <= candidate.items()
            ]
            settings = min(tried, key=lambda entry: entry[:2])[2]
            print(folder.name, {name: settings[name] for name in list(GLOBAL_CHOICES)[:2]}, flush=True)
            seconds |= costs(part, settings)
        for corrections in combinations:
            recipe = part.recipe(settings, corrections)
            alone, session = task.distance(part.weights_only(recipe)), part.session(recipe)
            figures = {"drop": task.drop(session), "distance": task.distance(session), "weights": alone}
            found[named(corrections)].append(figures)
            print(folder.name, number, f"{named(corrections):14s}", figures, flush=True)
    return {
        "environment": environment(),
        "task": folder.name,
        "granularity": granularity,
        "calibrator": settings[CALIBRATOR],
        "symmetry": settings[ACTIVATION_SYMMETRY],
        "layers": sum(name.startswith(LAYER) for name in part.space.layers),
        "baseline": baseline,
        "samples": len(task.indices),
        "combinations": found,
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
    }


def costs(part: Built, settings: dict[str, str]) -> dict[str, float]:
    """Seconds of a first build with each correction beyond one without."""
    found = {}
    for corrections in ({}, {WEIGHT_RANGE: "mse"}, {BIAS: "on"}, {BIAS: EMPIRICAL}, {ROUNDING: "gptq"}, *SCALED):
        builder, _ = part.fresh()
        whole = {**NONE, **corrections}
        began = time.perf_counter()
        builder.build(part.recipe(settings, whole))
        found[named(whole)] = time.perf_counter() - began
    plain = found.pop("none")
    return {name: value - plain for name, value in found.items()}


def main() -> None:
    """Measure and write."""
    parser = task_arguments(__doc__, 0)
    parser.add_argument("--parts", type=int, default=3, help="parts of the calibration samples")
    parser.add_argument("--granularity", choices=GRANULARITIES, default=GRANULARITIES[0])
    parser.add_argument("--calibrator", choices=CALIBRATORS, help="by default the one of least distance")
    parser.add_argument("--symmetry", choices=SYMMETRIES, help="of activations, by default that of least distance")
    names = {named(corrections): corrections for corrections in COMBINATIONS}
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help="these alone: printed, not written")
    given = parser.parse_args()
    combinations = [names[name] for name in given.only or names]
    for folder in folders(given.tasks, given.task):
        asked = {CALIBRATOR: given.calibrator, ACTIVATION_SYMMETRY: given.symmetry}
        fixed = {name: choice for name, choice in asked.items() if choice}
        figures = measure(folder, given.samples, given.parts, given.granularity, fixed, given.threads, combinations)
        if given.only:
            continue
        words = [folder.name, given.calibrator, "" if given.granularity == GRANULARITIES[0] else given.granularity]
        print(write("_".join(["corrections", *filter(None, words)]), figures))


if __name__ == "__main__":
    main()
