"""`autoquant export`: rebuild any trial's model from the study and the float model alone."""

from __future__ import annotations

import argparse
from pathlib import Path

from .arguments import Subparsers, add_study, trial

DESCRIPTION = """\
Rebuild a trial's model, bit for bit, from the study and the float model alone:
no data, no evaluation.
"""


def add_parser(subparsers: Subparsers) -> None:
    """Add the verb."""
    parser = subparsers.add_parser("export", help="rebuild any trial's model", description=DESCRIPTION)
    add_study(parser)
    parser.add_argument("--trial", type=trial, default="best", metavar="N", help="a trial's number; default best")
    parser.add_argument("--out", required=True, type=Path, metavar="X.onnx", help="the file to write")
    parser.add_argument("--model", type=Path, metavar="M", help="the float model, if it is no longer where it was")
    parser.set_defaults(run=run, uses_runtime=True)


def run(args: argparse.Namespace) -> int:
    """Write the model and say what it is."""
    from ..report import format as write
    from ..report.study import asked
    from ..report.summary import shown
    from ..study.export import chosen, export_trial
    from .studies import opened

    store = opened(args)
    path = export_trial(store, args.trial, args.out, model_path=args.model)
    record = chosen(store, args.trial)
    words = [f"trial {record.number}", f"metric {write.metric(record.metric)}"]
    words.append(f"drop {write.drop(record.drop, asked(store).target.relative)}")
    if record.int8_layers is not None:
        words.append(f"{write.many(record.int8_layers, 'layer')} int8")
    print(f"{shown(path)}: {', '.join(words)}")
    return 0
