"""Who watches a run: the live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from ..study.events import Observer


def wants_live(stream: TextIO) -> bool:
    """Whether a drawn view is welcome: a capable terminal, nobody asked for plain text, no CI log."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("CI") or os.environ.get("TERM") in ("dumb", "unknown")
    return stream.isatty() and not plain


@contextmanager
def observe(title: str) -> Iterator[Observer]:
    """An observer on stderr for the length of a run; stdout stays the result's."""
    if wants_live(sys.stderr):
        from .live import LiveView

        with LiveView(title) as view:
            yield view
    else:
        from .plain import PlainLog

        yield PlainLog(sys.stderr)


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int | None], None]]:
    """A counter on stderr that vanishes in the end: (done, total or None). Off a terminal it says nothing."""
    if not wants_live(sys.stderr):
        yield lambda done, total: None
        return
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    with console.status(what, refresh_per_second=4) as status:
        yield lambda done, total: status.update(f"{what} {done:,}" + (f" of {total:,}" if total else ""))
