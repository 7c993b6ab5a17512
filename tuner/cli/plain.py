"""Progress as plain lines: for logs, pipes and whoever asked for no colour."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TextIO

from ..report import format as write
from ..study.events import (
    BaselineScored,
    Event,
    Noted,
    PhaseStarted,
    Progressed,
    SearchStarted,
    TrialFinished,
)
from .progress import Progress

EVERY = 10.0  # seconds between two lines about the same phase's progress


class PlainLog:
    """An observer that writes one line for whatever is worth one.

    Args:
        stream: Where to.
        clock: Monotonic seconds; another one in tests.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._progress = Progress(clock)
        self._last = clock()

    def __call__(self, event: Event) -> None:
        """Take one event in, and write its line if it has one."""
        previous = self._progress.phase
        self._progress(event)
        line = self._line(event, previous)
        if line:
            self._stream.write(f"[{write.clock(self._progress.elapsed())}] {line}\n")
            self._stream.flush()
            self._last = self._clock()

    def _line(self, event: Event, previous: str | None) -> str:
        match event:
            case Noted():
                return f"warning: {event.text}" if event.warning else event.text
            case PhaseStarted():
                return "" if event.phase == previous else event.phase
            case Progressed():
                return self._progressed(event)
            case BaselineScored():
                return baseline(event)
            case SearchStarted():
                return search(event)
            case TrialFinished():
                return self._finished(event)
            case _:
                return ""

    def _progressed(self, event: Progressed) -> str:
        if self._clock() - self._last < EVERY:
            return ""
        text = f"{self._progress.phase}: {write.count(event.done)}"
        if event.total:
            text += f" of {write.count(event.total)}"
        left = self._progress.remaining()
        return (
            text if left is None else f"{text}, {'at most' if left.bound else 'about'} {write.clock(left.seconds)} left"
        )

    def _finished(self, event: TrialFinished) -> str:
        known = self._progress
        phase = known.phases.get(event.number, "")
        head = f"trial {event.number}" + (f" ({phase})" if phase else "")
        if event.state == "failed":
            return f"{head}: failed: {event.error or 'no reason given'}"
        drop = write.drop(event.drop, known.relative)
        if event.state == "pruned":
            return f"{head}: {stopped(event, known.baseline)}, drop above {drop}, {write.seconds(event.seconds)}"
        layers = f"/{known.search.layers}" if known.search else ""
        parts = [
            f"metric {write.metric(event.metric)}",
            f"drop {drop} {'holds' if event.feasible else 'too much'}",
            f"int8 {event.int8_layers}{layers}",
            f"speed {write.speedup(event.speedup)}" if event.speedup else "",
            f"cost {event.cost:.3f}" if event.cost is not None and not event.speedup else "",
            "scored before" if event.reused else write.seconds(event.seconds),
            "best so far" if event.best == event.number else "",
        ]
        return f"{head}: " + ", ".join(part for part in parts if part)


def stopped(event: TrialFinished, baseline: BaselineScored | None) -> str:
    """How far a trial came that was stopped early."""
    if event.samples is None:
        return "stopped early"
    of = f" of {write.count(baseline.samples)}" if baseline is not None and baseline.samples is not None else ""
    return f"stopped early after {write.count(event.samples)}{of} samples"


def baseline(event: BaselineScored) -> str:
    """The float model's line."""
    text = f"float model: metric {write.metric(event.metric)}"
    if event.samples is not None:
        text += f" on {write.many(event.samples, 'sample')}"
    if event.latency_ms is not None:
        text += f", {write.milliseconds(event.latency_ms)} a run"
    return f"{text}, scored in {write.seconds(event.seconds)}"


def search(event: SearchStarted) -> str:
    """What is searched, in a line."""
    cost, with_drop, _ = event.objective.partition(",")
    aim = f"drop at most {event.target}, least {cost}"
    if with_drop:
        aim = f"the front of {cost} against drop, {event.target} of interest"
    text = f"searching {write.many(event.layers, 'layer')}: {aim}, strategy {event.strategy}"
    if event.max_trials is not None:
        text += f", at most {write.many(event.max_trials, 'trial')}"
    if event.timeout is not None:
        text += f", {write.seconds(event.timeout)}"
    if event.resumed:
        text += f"; resumed with {write.many(event.resumed, 'trial')}"
    return text
