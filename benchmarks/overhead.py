"""What a trial costs beside the evaluation: `python -m benchmarks.overhead`.

Runs `autoquant tune --strategy tpe` (a new recipe and nothing else at every step) and reads the clock from the study
itself: from the start of one trial to the start of the next, less the time in the user's evaluation. That covers all
there is: proposing, building, opening the session, recording, drawing the live view. `propose_and_record` is what
remains of it beside the parts the trials time themselves.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import optuna

from .environment import TASKS, default_tasks, environment, folders, write
from .measure import rounded


def run(folder: Path, out: Path, trials: int, threads: int) -> list[dict[str, float]]:
    """Tune and return, per trial but the last, its parts in milliseconds."""
    command = ["autoquant", "tune", "--model", str(folder / "model.onnx"), "--eval", str(folder / "eval.py")]
    command += ["--strategy", "tpe", "--objective", "ops", "--max-trials", str(trials), "--threads", str(threads)]
    command += ["--device", "cpu", "--target", "cpu", "--target-drop", "1%", "--out", str(out)]
    done = subprocess.run([sys.executable, "-m", *command], stdout=subprocess.DEVNULL, stderr=sys.stderr, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{folder.name}: tune ended with exit status {done.returncode}")
    storage = optuna.storages.RDBStorage(f"sqlite:///{out / 'study.db'}")
    (summary,) = optuna.get_all_study_summaries(storage)
    found = optuna.load_study(study_name=summary.study_name, storage=storage).trials
    rows = []
    for one, following in itertools.pairwise(found):
        assert one.datetime_start is not None
        assert following.datetime_start is not None
        total = 1000 * (following.datetime_start - one.datetime_start).total_seconds()
        parts = {name: 1000 * one.user_attrs[f"seconds/{name}"] for name in ("build", "session", "evaluate")}
        overhead = total - parts.pop("evaluate")
        rows.append({"overhead": overhead, **parts, "propose_and_record": overhead - sum(parts.values())})
    return rows


def summary(rows: list[dict[str, float]]) -> dict[str, Any]:
    """Median of every part, and the worst overhead, in milliseconds."""
    medians = {f"{part}_ms": statistics.median(row[part] for row in rows) for part in rows[0]}
    return {"trials": len(rows), **medians, "worst_ms": max(row["overhead"] for row in rows)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=Path, default=default_tasks(), help="folder of the built tasks")
    parser.add_argument("--trials", type=int, default=25)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("only", nargs="*", metavar="TASK", help=f"of {', '.join(TASKS)}")
    arguments = parser.parse_args()
    figures: dict[str, Any] = {**environment(), "tasks": {}}
    for folder in folders(arguments.tasks, arguments.only or ["effnet_lite0", "minilm_sentiment"]):
        with tempfile.TemporaryDirectory() as scratch:
            rows = run(folder, Path(scratch) / "overhead.autoquant", arguments.trials, arguments.threads)
        figures["tasks"][folder.name] = summary(rows)
        print(folder.name, rounded(figures["tasks"][folder.name], 3), flush=True)
    write("overhead", rounded(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
