"""Float layers that a tight target costs, with corrections and without: `python -m benchmarks.fallbacks`.

Each row is one `autoquant tune`, in a process of its own. `targets` asks for 1 %, 0.3 % and 0.1 % under the objective
`ops` (every layer that holds the target is worth int8 there), once as it comes and once with every correction of
weights, biases and activations fixed to off. `seeds` asks for 0.3 %, likewise under `ops`, with five halves of the
calibration samples, drawn by seed. A float layer counts as bound by accuracy where the certificate says that its int8
form was scored and breaks the target. No clock decides anything here; the speedups are told beside.

A row is written to results/fallbacks.json as soon as it is there; rows of an earlier command stay until they are
measured again, each with its command, revision and day.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from autoquant.strategies.words import UNCORRECTED

from . import tune
from .environment import RESULTS, TASKS, default_tasks, environment, folders, write
from .measure import rounded

NAME = "fallbacks"
TARGETS = ("0.1%", "0.3%", "1%")
SEEDS = (0, 1, 2, 3, 4)
HALF = '''"""{task}'s eval.py with half of the calibration samples of every batch, drawn by seed."""
import importlib.util as _util
import sys as _sys

import numpy as _np

_sys.path.insert(0, {folder!r})
_spec = _util.spec_from_file_location("whole_eval", {path!r})
_whole = _util.module_from_spec(_spec)
_spec.loader.exec_module(_whole)
globals().update({{name: value for name, value in vars(_whole).items() if not name.startswith("_")}})


def calibration():
    rng = _np.random.default_rng({seed})
    for feed in _whole.calibration():
        count = len(next(iter(feed.values())))
        rows = _np.sort(rng.permutation(count)[: (count + 1) // 2])
        yield {{name: array[rows] for name, array in feed.items()}}
'''


class Rows:
    """The results file, row by row."""

    def __init__(self) -> None:
        path = RESULTS / f"{NAME}.json"
        self._rows: list[dict[str, Any]] = json.loads(path.read_text())["rows"] if path.exists() else []

    def put(self, key: dict[str, Any], figures: dict[str, Any]) -> None:
        """Write a row in place of an earlier one with the same key."""
        here = environment()
        origin = {name: here[name] for name in ("date", "command", "revision")}
        self._rows = [row for row in self._rows if any(row[name] != value for name, value in key.items())]
        self._rows.append({**key, **rounded(figures, 6), **origin})
        self._rows.sort(key=lambda row: json.dumps([row[name] for name in key], default=str))
        write(NAME, {**here, "rows": self._rows})


def run(folder: Path, evaluate: Path, out: Path, words: list[str], threads: int) -> dict[str, Any]:
    """One tuning: what it delivered and what it took."""
    command = ["autoquant", "tune", "--model", str(folder / "model.onnx"), "--eval", str(evaluate), *words]
    command += ["--threads", str(threads), "--seed", "0", "--device", "cpu", "--target", "cpu"]
    told = tune.call(command, out, folder.parent)
    result = told["result"]
    tuned, latency = result["tuned"] or {}, result["latency"] or {}
    certificate = result["certificate"] or {"status": None, "layers": []}
    parameters = json.loads((out / "recipe.json").read_text())["parameters"]
    return {
        "status": result["status"],
        "drop": tuned.get("drop"),
        "layers": result["layers"],
        "corrections": {name: parameters[name] for name, off in UNCORRECTED.items() if parameters[name] != off},
        "certificate": certificate["status"],
        "float": {
            how: [entry["layer"] for entry in certificate["layers"] if entry["how"] in kinds]
            for how, kinds in (("accuracy", ("scored", "raced")), ("speed", ("slower",)), ("open", ("open",)))
        },
        "speedup": latency.get("speedup"),
        "speedup_ci": latency.get("speedup_ci"),
        "evaluations": result["trials"]["evaluations"],
        "seconds": told["seconds"],
    }


def targets(folder: Path, scratch: Path, rows: Rows, corrected: bool, threads: int) -> None:
    """Every target, as studies beside each other that share calibration and scores."""
    off = [word for name, choice in UNCORRECTED.items() for word in ("--fix", f"{name}={choice}")]
    for target in TARGETS:
        words = ["--target-drop", target, "--objective", "ops", *([] if corrected else off)]
        out = scratch / f"{folder.name}_{'corrected' if corrected else 'plain'}.autoquant"
        key = {"part": "targets", "task": folder.name, "target": target, "corrected": corrected, "seed": None}
        put(rows, key, run(folder, folder / "eval.py", out, words, threads))


def seeds(folder: Path, scratch: Path, rows: Rows, threads: int) -> None:
    """0.3 % with five halves of the calibration samples."""
    for seed in SEEDS:
        evaluate = scratch / f"{folder.name}_{seed}_eval.py"
        text = HALF.format(task=folder.name, folder=str(folder), path=str(folder / "eval.py"), seed=seed)
        evaluate.write_text(text)
        out = scratch / f"{folder.name}_{seed}.autoquant"
        key = {"part": "seeds", "task": folder.name, "target": "0.3%", "corrected": True, "seed": seed}
        words = ["--target-drop", "0.3%", "--objective", "ops"]
        put(rows, key, run(folder, evaluate, out, words, threads))


def put(rows: Rows, key: dict[str, Any], figures: dict[str, Any]) -> None:
    """Keep a row and say it."""
    rows.put(key, figures)
    layers = figures["layers"]
    print(
        *(str(value) for value in key.values()),
        f"{figures['status']}: {layers['int8']}/{layers['total']} int8, bound by accuracy "
        f"{len(figures['float']['accuracy'])}, {figures['speedup'] or 0:.2f}x, {figures['evaluations']:g} evaluations, "
        f"{figures['seconds']:.0f} s, {figures['corrections']}",
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=Path, default=default_tasks(), help="folder of the built tasks")
    parser.add_argument("--part", choices=("plain", "corrected", "seeds"), action="append", help="default: all three")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("only", nargs="*", metavar="TASK", help=f"of {', '.join(TASKS)} (default: all)")
    arguments = parser.parse_args()
    parts = arguments.part or ("plain", "corrected", "seeds")
    rows = Rows()
    for folder in folders(arguments.tasks, arguments.only):
        with tempfile.TemporaryDirectory() as scratch:
            for part in parts:
                if part == "seeds":
                    seeds(folder, Path(scratch), rows, arguments.threads)
                else:
                    targets(folder, Path(scratch), rows, part == "corrected", arguments.threads)
    return 0


if __name__ == "__main__":
    sys.exit(main())
