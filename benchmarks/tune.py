"""Tune the five public tasks and measure what was delivered: `python -m benchmarks.tune [--objective ops|latency]`.

Each run is `autoquant tune` in a process of its own, from an empty study; the delivered file is then measured by
benchmarks/measure.py. One results file per task and objective, and per strategy
other than `auto`: results/tune_<task>_<objective>[_<strategy>].json.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from .environment import TASKS, default_tasks, environment, folders, write
from .measure import measure, rounded


def tune(folder: Path, objective: str, out: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """One run of the command line: the command, its exit status, seconds and result.json."""
    command = ["autoquant", "tune", "--model", str(folder / "model.onnx"), "--eval", str(folder / "eval.py")]
    command += ["--target-drop", "1%", "--objective", objective, "--strategy", arguments.strategy]
    command += ["--threads", str(arguments.threads), "--seed", "0", "--device", "cpu", "--target", "cpu"]
    if arguments.max_trials:
        command += ["--max-trials", str(arguments.max_trials)]
    if arguments.timeout:
        command += ["--timeout", arguments.timeout]
    return call(command, out, folder.parent)


def call(command: list[str], out: Path, tasks: Path) -> dict[str, Any]:
    """Run `command --out out`; where the tasks lie is left out of what is told of it."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", *command, "--out", str(out)], stdout=subprocess.DEVNULL, stderr=sys.stderr, check=False
    )
    seconds = time.perf_counter() - start
    if not (out / "result.json").exists():
        raise SystemExit(f"`{shlex.join(command)}` left no result.json (exit status {done.returncode})")
    result = json.loads((out / "result.json").read_text())
    shown = [part.replace(str(tasks), "$AUTOQUANT_TASKS") for part in command]
    result.pop("study", None)  # names a folder that is about to go
    return {"command": " ".join(shown), "exit_status": done.returncode, "seconds": seconds, "result": result}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=Path, default=default_tasks(), help="folder of the built tasks")
    parser.add_argument("--objective", choices=("ops", "latency", "size"), action="append", help="default ops, latency")
    parser.add_argument("--strategy", default="auto")
    parser.add_argument("--max-trials", type=int)
    parser.add_argument("--timeout", help="of each run, such as 20m")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=41, help="timed pairs of float and delivered model")
    parser.add_argument("--keep", type=Path, help="keep the study folders here")
    parser.add_argument("only", nargs="*", metavar="TASK", help=f"of {', '.join(TASKS)} (default: all)")
    arguments = parser.parse_args()
    for folder in folders(arguments.tasks, arguments.only):
        for objective in arguments.objective or ("ops", "latency"):
            figures = {**environment(), "task": folder.name, "objective": objective, "strategy": arguments.strategy}
            with tempfile.TemporaryDirectory() as scratch:
                out = Path(scratch) / f"{folder.name}_{objective}.autoquant"
                figures["tune"] = tune(folder, objective, out, arguments)
                delivered = out / "model.onnx"
                figures["measured"] = measure(folder, delivered, threads=arguments.threads, pairs=arguments.pairs)
                if arguments.keep:
                    shutil.copytree(out, arguments.keep / out.name, dirs_exist_ok=True)
            other = "" if arguments.strategy == "auto" else f"_{arguments.strategy}"
            path = write(f"tune_{folder.name}_{objective}{other}", rounded(figures, 6))
            print(f"{path.name}: {line(figures)}", flush=True)
    return 0


def line(figures: dict[str, Any]) -> str:
    """One line for whoever watches."""
    tuned, measured = figures["tune"], figures["measured"]
    kernels = measured["kernels"]
    return (
        f"{tuned['result']['status']}, metric {measured['metric']:.4f} of {measured['baseline']:.4f} "
        f"({100 * measured['relative_drop']:.2f} % lost), {kernels['int8']} layers in int8 and {kernels['float']} in "
        f"float, {measured['latency']['speedup']:.2f}x, {tuned['result']['trials']['evaluations']:g} evaluations, "
        f"{tuned['seconds']:.0f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
