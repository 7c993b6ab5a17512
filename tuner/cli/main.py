"""The command line: parse, call a verb, and turn what goes wrong into a line and an exit status.

0 done (tune: target met) · 1 tuned, but target not met or nothing gained · 2 bad request · 130 interrupted
(143 where a scheduler did it).
"""

from __future__ import annotations

import argparse
import io
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from ... import __version__
from ...errors import AutoquantError, EvaluationError
from . import dashboard, doctor, eval, export, init, inspect, quantize, report, trials, tune
from .arguments import Parser

# In the order in which a newcomer needs them. Each imports what it needs only when it runs: `--help` stays instant.
VERBS = (init, inspect, tune, eval, trials, report, export, quantize, dashboard, doctor)

DESCRIPTION = """\
Make an ONNX model int8 without losing its accuracy.

Give it a model, a metric and a tolerable drop; it returns the fastest quantized
model that keeps the metric, and shows how it got there:

  autoquant tune --model model.onnx --eval eval.py --target-drop 1%
"""

EPILOG = """\
No eval.py yet? `autoquant init --model model.onnx` writes one that fits your model.
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser with all its verbs."""
    parser = Parser(prog="autoquant", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"autoquant {__version__}")
    subparsers = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for verb in VERBS:
        verb.add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        argv: The words after `autoquant`; None for the process's own.

    Returns:
        The exit status.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without these signs gets question marks, no traceback
    with _terminable():
        return _main(words)


def _main(words: list[str]) -> int:
    try:
        try:
            args = build_parser().parse_args(words)
        except SystemExit as stop:  # argparse's way to end after --help, --version or a complaint
            sys.stdout.flush()
            return stop.code if isinstance(stop.code, int) else 0
        args.command = shlex.join(["autoquant", *words])
        if getattr(args, "uses_runtime", False):
            _check_runtime()
        status: int = args.run(args)
        sys.stdout.flush()
        return status
    except AutoquantError as error:
        if isinstance(error, EvaluationError) and error.traceback:
            sys.stderr.write(error.traceback.rstrip("\n") + "\n")
        sys.stderr.write(f"autoquant: {error}\n")
        return 2
    except KeyboardInterrupt as stop:
        sys.stderr.write("\n" + _interrupted(words) + "\n")
        return 143 if isinstance(stop, _Terminated) else 130
    except BrokenPipeError:
        # The reader (`| head`) has what it wanted. Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


class _Terminated(KeyboardInterrupt):
    """SIGTERM: what a scheduler sends before it kills. Treated like Ctrl-C: the trial is told, the terminal mended."""


@contextmanager
def _terminable() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # only there may handlers be set
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise _Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _check_runtime() -> None:
    from ...evaluators.machine import check_installation

    check_installation()


def _interrupted(words: Sequence[str]) -> str:
    if not words or words[0] != "tune":
        return "Interrupted."
    # Fresh again would throw away what this run has found.
    command = shlex.join(["autoquant", *(word for word in words if word != "--fresh")])
    return f"Interrupted. Every finished trial is kept; go on with:\n  {command}"
