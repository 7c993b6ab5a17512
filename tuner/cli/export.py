"""`autoquant export`: rebuild any trial's model, or write its scales, from the study and the float model alone."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .arguments import Subparsers, add_study, trial

DESCRIPTION = """\
Rebuild a trial's model, bit for bit, from the study and the float model alone:
no data, no evaluation. Or write its scales and offsets for another toolchain.
"""

EPILOG = """\
formats:
  qdq             the ONNX model with QuantizeLinear and DequantizeLinear (default)
  tensorrt-cache  TensorRT's calibration cache: symmetric scales of the activations
  qnn-encodings   AIMET/QNN encodings (JSON): activations, weights and biases
  json-record     everything, per tensor and per layer: scale, offset, dtype, axis
What a trial leaves in float is in none of the records. `autoquant quantize --ranges`
and `autoquant tune --ranges` read all three.
"""

_FORMATS = ("qdq", "tensorrt-cache", "qnn-encodings", "json-record")


def add_parser(subparsers: Subparsers) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "export", help="rebuild any trial's model, or its scales", description=DESCRIPTION, epilog=EPILOG
    )
    add_study(parser)
    parser.add_argument("--trial", type=trial, default="best", metavar="N", help="a trial's number; default best")
    parser.add_argument("--format", choices=_FORMATS, default="qdq", metavar="F", help="see below; default qdq")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="the file to write")
    parser.add_argument("--model", type=Path, metavar="M", help="the float model, if it is no longer where it was")
    parser.set_defaults(run=run, uses_runtime=True)


def run(args: argparse.Namespace) -> int:
    """Write the file and say what it is."""
    from ..report import format as write
    from ..report.records import export
    from ..report.study import asked
    from ..report.summary import shown
    from ..study.export import chosen
    from .studies import opened

    store = opened(args)
    made = export(store, args.trial, args.out, args.format, args.model)
    record = chosen(store, args.trial)
    words = [f"trial {record.number}", f"metric {write.metric(record.metric)}"]
    words.append(f"drop {write.drop(record.drop, asked(store).target.relative)}")
    if record.int8_layers is not None:
        words.append(f"{write.many(record.int8_layers, 'layer')} int8")
    if made.said:
        words.append(made.said)
    print(f"{shown(made.path)}: {', '.join(words)}")
    for warning in made.warnings:
        print(f"autoquant: {warning}", file=sys.stderr)
    return 0
