"""`autoquant init`: write an eval.py that fits a model."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from .arguments import Subparsers

DESCRIPTION = """\
Write an eval.py for a model: its inputs and outputs by name, a score per sample,
calibration samples. It reads arrays from data.npz; change it to read yours.
"""


def add_parser(subparsers: Subparsers) -> None:
    """Add the verb."""
    parser = subparsers.add_parser("init", help="write an eval.py that fits a model", description=DESCRIPTION)
    parser.add_argument("--model", required=True, type=Path, metavar="M", help="the float ONNX model")
    parser.add_argument("--out", type=Path, default=Path("eval.py"), metavar="FILE", help="default eval.py")
    parser.add_argument("--force", action="store_true", help="replace an existing file")
    parser.set_defaults(run=run, uses_runtime=False)


def run(args: argparse.Namespace) -> int:
    """Write the file and say what to do with it."""
    from ...errors import OutputError
    from ..graph.load import load
    from ..report.write import write_text
    from .evalfile import signature, source

    if args.out.exists() and not args.force:
        raise OutputError(
            f"{args.out} exists already and is left as it is.\nChoose another --out, or replace it with --force."
        )
    wanted = signature(load(args.model).proto)
    write_text(source(args.model.name, wanted), args.out)
    names = ", ".join([*(tensor.name for tensor in wanted.inputs), "labels"])
    print(
        f"{args.out} is written. It reads data.npz beside it with the arrays {names}: change load() to read your data."
    )
    model, out = shlex.quote(str(args.model)), shlex.quote(str(args.out))
    print(f"Try it:  autoquant eval {model} --eval {out}")
    print(f"Tune:    autoquant tune --model {model} --eval {out} --target-drop 1%")
    return 0
