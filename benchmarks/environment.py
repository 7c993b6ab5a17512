"""Where and with what a figure was measured; every results file begins with it."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from autoquant.evaluators.machine import instruction_set, versions

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
TASKS_VARIABLE = "$AUTOQUANT_TASKS"
_PLACES = {"--tasks": TASKS_VARIABLE, "--cache": "$CACHE"}
TASKS = ("cls180", "ocr_v4", "minilm_sentiment", "effnet_lite0", "ocr_v6s")


def _arguments() -> list[str]:
    """The command line's arguments; where tasks and caches lie is this machine's business."""
    words = sys.argv[1:]
    return [_PLACES.get(before, word) for before, word in zip(["", *words], words, strict=False)]


def environment() -> dict[str, Any]:
    """Date, command, revision, machine and versions."""
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "command": " ".join(["python", "-m", _module(), *map(_quoted, _arguments())]),
        "revision": _revision(),
        "machine": {
            "processor": _processor(),
            "instruction_set": instruction_set(),
            "cores": os.cpu_count(),
            "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
            "system": f"{platform.system()} {platform.machine()}",
            "load_at_start": round(os.getloadavg()[0], 2),
        },
        "versions": versions(),
    }


def write(name: str, figures: dict[str, Any]) -> Path:
    """Write benchmarks/results/<name>.json."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(figures, indent=1) + "\n")
    return path


def folders(tasks: Path, chosen: list[str]) -> list[Path]:
    """The folders of the chosen tasks, all by default.

    Raises:
        SystemExit: One of them has not been built.
    """
    wanted = [tasks / name for name in chosen or TASKS]
    for folder in wanted:
        if not (folder / "eval.py").exists():
            raise SystemExit(f"{folder} holds no task: build it with `make tasks`, or name its folder with --tasks")
    return wanted


def default_tasks() -> Path:
    """AUTOQUANT_TASKS, or where `make tasks` builds them."""
    return Path(os.environ.get("AUTOQUANT_TASKS", ROOT / "benchmarks" / "data" / "tasks"))


def task_arguments(
    doc: str | None, samples: int, about: str = "evaluation samples, all by default"
) -> argparse.ArgumentParser:
    """A parser with what most benchmarks take: tasks, where they lie, samples to score, threads.

    Args:
        doc: The benchmark's docstring; its first line is shown.
        samples: By default.
        about: The help of --samples.
    """
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("task", nargs="*", help="tasks, all by default")
    parser.add_argument("--tasks", type=Path, default=default_tasks(), help="folder of the built tasks")
    parser.add_argument("--samples", type=int, default=samples, help=about)
    parser.add_argument("--threads", type=int, default=2)
    return parser


def _quoted(word: str) -> str:
    return word if word in _PLACES.values() else shlex.quote(word)


def _module() -> str:
    return f"benchmarks.{Path(sys.argv[0]).stem}"


def _revision() -> str:
    """The commit, with a mark where the tree differs from it; empty outside a repository."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude", "*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
