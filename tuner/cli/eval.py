"""`autoquant eval`: metric and latency of any ONNX file."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from pathlib import Path

from .arguments import Subparsers, positive

DESCRIPTION = """\
Score any ONNX file with an eval file, and time it. To compare a tuned model with the
float one, name the latter with --reference: both are scored and timed in alternation.
"""

EPILOG = """\
E is a Python file, or accuracy:data.npz (arrays named like the inputs, and `labels`), or
fidelity:inputs.npz (agreement with --reference).
"""


def add_parser(subparsers: Subparsers) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "eval", help="metric and latency of any ONNX file", description=DESCRIPTION, epilog=EPILOG
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="an ONNX file")
    parser.add_argument("--eval", required=True, metavar="E", help="eval.py, accuracy:data.npz or fidelity:inputs.npz")
    parser.add_argument("--reference", type=Path, metavar="FLOAT", help="the float model to compare with")
    parser.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda or cuda:1; default auto")
    parser.add_argument("--threads", type=positive, metavar="N", help="threads of a session; default the runtime's")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.set_defaults(run=run, uses_runtime=True)


def run(args: argparse.Namespace) -> int:
    """Score, time, print."""
    from .measure import measure, table
    from .observe import counting

    aside = contextlib.redirect_stdout(sys.stderr) if args.json else contextlib.nullcontext()
    with aside, counting("scoring") as progress:
        figures = measure(
            args.model,
            args.eval,
            reference=args.reference,
            device=args.device,
            threads=args.threads,
            progress=progress,
        )
    if args.json:
        print(json.dumps(figures, indent=2))
        return 0
    from .console import show

    show(table(figures))
    return 0
