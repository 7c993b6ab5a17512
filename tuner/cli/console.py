"""Where verbs print: stdout, wide where nobody measures it."""

from __future__ import annotations

import os
import sys

from rich.console import Console, RenderableType

WIDTH = 140  # columns of a pipe or a file: a table must not be cut to an imagined terminal


def show(renderable: RenderableType) -> None:
    """Print on stdout, numbers and names in the colour they are given; into a pipe without trailing blanks."""
    if sys.stdout.isatty():
        Console(highlight=False).print(renderable)
        return
    console = Console(highlight=False, width=None if "COLUMNS" in os.environ else WIDTH)
    with console.capture() as captured:
        console.print(renderable)
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))
