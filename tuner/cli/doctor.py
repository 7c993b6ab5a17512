"""`autoquant doctor`: what works on this machine, and what to do about what does not."""

from __future__ import annotations

import argparse
import json

from .arguments import Subparsers

DESCRIPTION = "Check the Python environment, the processor, the devices and the disk."


def add_parser(subparsers: Subparsers) -> None:
    """Add the verb."""
    parser = subparsers.add_parser("doctor", help="what works on this machine", description=DESCRIPTION)
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.set_defaults(run=run, uses_runtime=False)


def run(args: argparse.Namespace) -> int:
    """Print the findings; 1 when something essential does not work."""
    from .checks import examine

    findings = examine()
    sick = any(finding.state == "broken" for finding in findings)
    if args.json:
        print(json.dumps({"ok": not sick, "findings": [finding.to_json() for finding in findings]}, indent=2))
        return int(sick)
    from rich.table import Table
    from rich.text import Text

    from ..report import format as write
    from .console import show

    marks = {"ok": ("✓", "green"), "absent": (write.MISSING, "dim"), "broken": ("✗", "bold red")}
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        mark, style = marks[finding.state]
        table.add_row(
            Text(mark, style=style), finding.name, Text(finding.text, style="dim" if finding.state == "absent" else "")
        )
    show(table)
    if sick:
        show(Text("\nSomething essential does not work: see ✗.", style="bold red"))
    return int(sick)
