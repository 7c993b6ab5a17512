"""`autoquant inspect`: what of a model can be quantized, what cannot, and why."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ...errors import OptionError
from .arguments import Subparsers

DESCRIPTION = """\
Show a model's layers and groups, the operators between them, the exact rewrites of
the graph that apply, and for each operator that cannot be quantized why. The names are
those that --keep-float, --only and --fix match. With --study instead of a model: what
quantization does to each layer of the study's delivered model.
"""


def add_parser(subparsers: Subparsers) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "inspect", help="what can be quantized, what cannot, and why", description=DESCRIPTION
    )
    parser.add_argument("model", type=Path, metavar="MODEL", nargs="?", help="an ONNX file")
    parser.add_argument("--study", metavar="STUDY", help="a folder, study.db or storage URL: its layers' errors")
    parser.add_argument("--study-name", metavar="NAME", help="which of several studies")
    parser.add_argument("--target", default="auto", metavar="T", help="auto, cpu, cuda or tensorrt; default auto")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.set_defaults(run=run, uses_runtime=True)


def run(args: argparse.Namespace) -> int:
    """Print the analysis."""
    if (args.model is None) == (args.study is None):
        raise OptionError("inspect takes a MODEL, or --study STUDY, one of the two.")
    return _errors(args) if args.study is not None else _anatomy(args)


def _errors(args: argparse.Namespace) -> int:
    from ..report.errors import table
    from ..study.layererrors import of_study
    from .console import show
    from .studies import opened

    found = of_study(opened(args))
    if args.json:
        print(json.dumps(found, indent=2))
        return 0
    show(table(found))
    return 0


def _anatomy(args: argparse.Namespace) -> int:
    from ..graph.analyse import analyse
    from ..graph.load import load
    from ..graph.rewrite.registry import rewritten
    from ..report.anatomy import render, to_json
    from ..targets.profiles import get

    target = get(args.target)
    model = load(args.model)
    analysis = analyse(model)
    sites = rewritten(model).sites
    if args.json:
        print(json.dumps(to_json(model, analysis, target, sites), indent=2))
        return 0
    from .console import show

    show(render(model, analysis, target, sites))
    return 0
