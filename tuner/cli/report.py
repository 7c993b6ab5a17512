"""`autoquant report`: write a study's report.html again."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from .arguments import Subparsers, add_study

DESCRIPTION = """\
Write a study's report: one self-contained HTML page with what was reached, every
trial, and each layer's precision. Also for a study that is still running.
"""


def add_parser(subparsers: Subparsers) -> None:
    """Add the verb."""
    parser = subparsers.add_parser("report", help="write a study's report.html", description=DESCRIPTION)
    add_study(parser)
    parser.add_argument("--out", type=Path, metavar="FILE", help="default report.html beside the study")
    parser.set_defaults(run=run, uses_runtime=False)


def run(args: argparse.Namespace) -> int:
    """Write the page and say where it is."""
    from ..report.study import page
    from ..report.summary import shown
    from ..report.write import write_text
    from ..study.files import REPORT
    from .studies import folder, opened

    store = opened(args)
    home = folder(args.study)
    text = page(store, stored_result(home, store.name) if home else None)
    path = write_text(text, args.out or (home or Path()) / REPORT)
    print(shown(path))
    return 0


def stored_result(home: Path, name: str) -> dict[str, Any] | None:
    """The folder's result.json, if it is this study's."""
    from ..study.files import RESULT

    try:
        result: dict[str, Any] = json.loads((home / RESULT).read_text(encoding="utf-8"))
        return result if result["study"]["name"] == name else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
