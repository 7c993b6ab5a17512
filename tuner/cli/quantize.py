"""`autoquant quantize`: build the model a recipe describes."""

from __future__ import annotations

import argparse
from pathlib import Path

from .arguments import Subparsers

DESCRIPTION = """\
Build the model that a recipe.json describes, also one edited by hand: turn a layer
to fp32 or int8, change a tensor's scale. Changing the calibrator needs the study's
ranges: name it with --study.
"""


def add_parser(subparsers: Subparsers) -> None:
    """Add the verb."""
    parser = subparsers.add_parser("quantize", help="build the model of a recipe.json", description=DESCRIPTION)
    parser.add_argument("--model", required=True, type=Path, metavar="M", help="the float ONNX model")
    parser.add_argument("--recipe", required=True, type=Path, metavar="R", help="a recipe.json")
    parser.add_argument("--out", required=True, type=Path, metavar="X.onnx", help="the file to write")
    parser.add_argument("--study", metavar="STUDY", help="where to find ranges the recipe does not hold")
    parser.add_argument("--study-name", metavar="NAME", help="which study, where the storage holds several")
    parser.set_defaults(run=run, uses_runtime=True)


def run(args: argparse.Namespace) -> int:
    """Write the model and say what it is."""
    from ..report import format as write
    from ..report.summary import shown
    from ..study.export import quantize_recipe
    from .studies import opened

    store = opened(args) if args.study else None
    path, layers = quantize_recipe(args.model, args.recipe, args.out, store=store)
    kinds = {kind: sum(value == kind for value in layers.values()) for kind in ("int8", "fp16", "fp32")}
    words = ", ".join(f"{write.many(number, 'layer')} {kind}" for kind, number in kinds.items() if number)
    print(f"{shown(path)}: {words or 'no layer'}")
    return 0
