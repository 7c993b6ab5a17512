"""Which probe tells corrected recipes apart: `python -m benchmarks.closeness ocr_v6s --samples 400`.

All layers in int8, glue in float, under three calibrators, uncorrected and with several combinations of corrections:
such recipes are all close to float, and a study chooses between them by a probe. For the relative squared error by its
arithmetic mean over samples (`distance`) and by its geometric one (`sqnr`), on 16 and 32 of the samples that a study
would keep: Spearman's rank correlation with the drop, and the drop of the recipe of least distance. Writes
results/closeness.json.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from autoquant.evaluators.distance import outputs
from autoquant.evaluators.distances import KINDS
from autoquant.strategies.words import (
    ACTIVATION_SYMMETRY,
    BIAS,
    CALIBRATOR,
    EQUALIZATION,
    GRANULARITIES,
    ROUNDING,
    SMOOTH,
    WEIGHT_RANGE,
)
from autoquant.tuner.study.feeds import CLOSER_SAMPLES, PROBE_SAMPLES

from .corrections import NONE, Built, named
from .environment import environment, folders, task_arguments, write
from .part import opened
from .sensitivity import spearman

CALIBRATORS = ("minmax", "percentile_99.99", "mse")
_ALIKE = {EQUALIZATION: "on", SMOOTH: "auto"}
COMBINATIONS: tuple[dict[str, str], ...] = (
    {},
    {WEIGHT_RANGE: "mse"},
    {BIAS: "on"},
    {WEIGHT_RANGE: "mse", BIAS: "on"},
    {ROUNDING: "gptq"},
    {ROUNDING: "gptq", BIAS: "on"},
    _ALIKE,
    {**_ALIKE, ROUNDING: "gptq"},
    {**_ALIKE, BIAS: "on"},
)
PROBES = [(kind, count) for kind in ("distance", "sqnr") for count in (PROBE_SAMPLES, CLOSER_SAMPLES)]


def measure(folder: Path, samples: int, threads: int) -> dict[str, Any]:
    """The figures of one task."""
    task, feeds = opened(folder, samples, threads)
    built = Built(folder, feeds, GRANULARITIES[0], threads)
    reference = outputs(task.session, task.probes)
    recipes = []
    for calibrator in CALIBRATORS:
        for corrections in ({**NONE, **chosen} for chosen in COMBINATIONS):
            settings = {CALIBRATOR: calibrator, ACTIVATION_SYMMETRY: "asymmetric"}
            session = built.session(built.recipe(settings, corrections))
            found = outputs(session, task.probes)
            probes = {f"{kind} {count}": KINDS[kind](reference[:count], found[:count]) for kind, count in PROBES}
            recipes.append({"calibrator": calibrator, "corrections": named(corrections), "drop": task.drop(session)})
            recipes[-1] |= probes
            print(folder.name, recipes[-1], flush=True)
    drops = np.array([recipe["drop"] for recipe in recipes])
    summary = {}
    for kind, count in PROBES:
        values = np.array([recipe[f"{kind} {count}"] for recipe in recipes])
        summary[f"{kind} {count}"] = {
            "correlation": round(spearman(values, drops), 3),
            "drop_of_least": float(drops[values.argmin()]),
        }
    return {"samples": len(task.indices), "probes": summary, "recipes": recipes}


def main() -> None:
    """Measure and write."""
    parser = task_arguments(__doc__, 400, "evaluation samples")
    given = parser.parse_args()
    found = {folder.name: measure(folder, given.samples, given.threads) for folder in folders(given.tasks, given.task)}
    print(write("closeness", {"environment": environment(), "tasks": found}))


if __name__ == "__main__":
    main()
