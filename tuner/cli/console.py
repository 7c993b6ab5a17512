"""Where verbs print: stdout, wide where nobody measures it."""

from __future__ import annotations

import os
import sys

from rich.console import Console

WIDTH = 140  # columns of a pipe or a file: a table must not be cut to an imagined terminal


def console() -> Console:
    """A console on stdout that leaves numbers and names in the colour they are given."""
    measured = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(highlight=False, width=None if measured else WIDTH)
