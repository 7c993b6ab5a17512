"""Ctrl-C waits until a change to the database is whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def shielded() -> Iterator[None]:
    """Hold SIGINT back while inside; the handler that was there is called at the end.

    Database drivers are not made to be interrupted between two of their statements. Only the main thread receives
    signals, so elsewhere this does nothing. The inside must be short.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[tuple[int, FrameType | None]] = []
    before = signal.getsignal(signal.SIGINT)
    if not callable(before):  # ignored, the default action, or set outside Python: nothing to hold back
        yield
        return
    signal.signal(signal.SIGINT, lambda number, frame: held.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if held:
            before(*held[0])
