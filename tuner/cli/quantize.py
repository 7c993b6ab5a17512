"""`autoquant quantize`: build the model that a recipe describes, or that another tool's ranges make."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import calibration
from .arguments import Subparsers, add_settled, natural, positive, shape

DESCRIPTION = """\
Build the model that a recipe.json describes, also one edited by hand: turn a layer
to fp32 or int8, change a tensor's scale. Changing the calibrator needs the study's
ranges: name it with --study.

Without data and without a metric, --data-free makes inputs up: noise and random
tokens, and what the model's BatchNormalizations remember of the training data.

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
    parser.add_argument(
        "--target", metavar="T", help="with --ranges or --data-free alone: auto (default), cpu, cuda, tensorrt, qnn"
    )
    without = parser.add_argument_group("without data")
    without.add_argument("--data-free", action="store_true", help="every layer int8, ranges from made-up inputs")
    calibration.add_options(without, data=False)
    without.add_argument(
        "--input-shape",
        action="append",
        default=[],
        type=shape,
        metavar="NAME=1x3x48x192",
        help="sizes of an input that the model leaves open (repeatable)",
    )
    without.add_argument("--calibration-samples", type=positive, metavar="N", help="how many to make up; default 64")
    without.add_argument("--seed", type=natural, default=0, metavar="N", help="of what is made up; default 0")
    add_settled(without, "settle a parameter, as in tune")
    parser.set_defaults(run=run, uses_runtime=True)


def run(args: argparse.Namespace) -> int:
    """Write the model and say what it is."""
    from ...errors import OptionError
    from ..report import format as write
    from ..report.summary import shown
    from ..study.export import quantize_recipe
    from ..study.imported import quantize_ranges
    from .studies import opened

    if args.data_free:
        return _without_data(args)
    if args.input_range is not None or args.input_shape:
        raise OptionError(
            "--input-range and --input-shape are for inputs that are made up: each goes with --data-free."
        )
    if args.recipe is None and args.ranges is None:
        raise OptionError(
            "nothing says how to quantize.\nName a recipe.json with --recipe, or ranges with --ranges; or --data-free."
        )
    if args.target is not None and args.recipe is not None:
        raise OptionError("--target goes with --ranges or --data-free alone: a recipe says what it is for.")
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
    print(f"{shown(path)}: {', '.join([*_counted(layers), *said])}")
    return 0


def _without_data(args: argparse.Namespace) -> int:
    """Write the model that made-up inputs make, and say so."""
    from ...errors import OptionError
    from ..report.summary import shown
    from ..study.calibrationoptions import MADE, CalibrationOptions, input_range
    from ..study.datafree import Options, quantize_data_free

    if args.recipe is not None or args.ranges is not None or args.study is not None:
        raise OptionError(
            "--data-free stands alone: ranges come from --recipe, --ranges or made-up inputs, not several."
        )
    bounds = None if args.input_range is None else input_range(args.input_range)
    CalibrationOptions(data_free=True, input_range=bounds).check()
    options = Options(
        samples=args.calibration_samples or MADE,
        seed=args.seed,
        input_range=bounds,
        shapes=dict(args.input_shape),
        fix=dict(args.fix),
        keep_float=tuple(args.keep_float),
        only=tuple(args.only),
    )
    made = quantize_data_free(args.model, args.out, options, args.target or "auto")
    if made.candidate.notes:
        print(f"autoquant: {_notes(made.candidate.notes)}", file=sys.stderr)
    for name, sizes in made.assumed.items():
        said = "x".join(map(str, sizes))
        print(f"autoquant: the model leaves sizes of {name} open: {said} assumed (--input-shape)", file=sys.stderr)
    print(f"{shown(made.path)}: {', '.join([*_counted(made.candidate.layers), f'ranges from {made.source}'])}")
    print(f"{shown(made.recipe)}: its recipe. Nothing was scored: `autoquant eval` tells what it loses.")
    return 0


def _counted(layers: Mapping[str, str]) -> list[str]:
    from ..report import format as write

    kinds = {kind: sum(value == kind for value in layers.values()) for kind in dict.fromkeys(layers.values())}
    return [f"{write.many(number, 'layer')} {kind}" for kind, number in sorted(kinds.items())] or ["no layer"]


def _notes(notes: Sequence[str]) -> str:
    return notes[0] if len(notes) == 1 else f"{notes[0]} {len(notes) - 1} more layers stay in float."
