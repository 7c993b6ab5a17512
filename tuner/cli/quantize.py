"""`autoquant quantize`: build the model that a recipe describes, or that another tool's ranges make."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .arguments import Subparsers

DESCRIPTION = """\
Build the model that a recipe.json describes, also one edited by hand: turn a layer
to fp32 or int8, change a tensor's scale. Changing the calibrator needs the study's
ranges: name it with --study.

Or take the activations' ranges from another tool's file with --ranges: a TensorRT
calibration cache, QNN/AIMET encodings or an autoquant json-record. Without a recipe
every layer that has its ranges becomes int8.
"""


def add_parser(subparsers: Subparsers) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "quantize", help="build the model of a recipe.json or of imported ranges", description=DESCRIPTION
    )
    parser.add_argument("--model", required=True, type=Path, metavar="M", help="the float ONNX model")
    parser.add_argument("--recipe", type=Path, metavar="R", help="a recipe.json")
    parser.add_argument("--ranges", type=Path, metavar="FILE", help="ranges of activations made by another tool")
    parser.add_argument("--out", required=True, type=Path, metavar="X.onnx", help="the file to write")
    parser.add_argument("--study", metavar="STUDY", help="where to find ranges the recipe does not hold")
    parser.add_argument("--study-name", metavar="NAME", help="which study, where the storage holds several")
    parser.add_argument("--target", metavar="T", help="with --ranges alone: auto (default), cpu, cuda, tensorrt")
    parser.set_defaults(run=run, uses_runtime=True)


def run(args: argparse.Namespace) -> int:
    """Write the model and say what it is."""
    from ...errors import OptionError
    from ..report import format as write
    from ..report.summary import shown
    from ..study.export import quantize_recipe
    from ..study.imported import quantize_ranges
    from .studies import opened

    if args.recipe is None and args.ranges is None:
        raise OptionError("nothing says how to quantize.\nName a recipe.json with --recipe, or ranges with --ranges.")
    if args.target is not None and args.recipe is not None:
        raise OptionError("--target goes with --ranges alone: a recipe says what it is for.")
    store = opened(args) if args.study else None
    said: list[str] = []
    if args.ranges is None:
        path, layers = quantize_recipe(args.model, args.recipe, args.out, store=store)
    else:
        made = quantize_ranges(args.model, args.ranges, args.out, args.recipe, store, args.target or "auto")
        path, layers = made.path, made.candidate.layers
        said = [f"{write.many(made.used, 'activation')} by the ranges of {made.imported.path.name}"]
        if made.others:
            said.append(f"{made.others} by the recipe's")
        if made.candidate.notes:
            print(f"autoquant: {_notes(made.candidate.notes)}", file=sys.stderr)
    kinds = {kind: sum(value == kind for value in layers.values()) for kind in ("int8", "fp16", "fp32")}
    words = [f"{write.many(number, 'layer')} {kind}" for kind, number in kinds.items() if number] or ["no layer"]
    print(f"{shown(path)}: {', '.join([*words, *said])}")
    return 0


def _notes(notes: Sequence[str]) -> str:
    return notes[0] if len(notes) == 1 else f"{notes[0]} {len(notes) - 1} more layers stay in float."
