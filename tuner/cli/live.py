"""Progress as a live view: what has been done, what runs now, the best so far, the last trials."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..report import format as write
from ..study.events import Event, Noted, Phase, Progressed, TrialFinished, TrialStarted
from .progress import Progress

ROWS = 8  # trials shown
PAUSE = 0.1  # seconds between redraws for events that come in masses
GAUGE = 5  # cells of the drop gauge left and right of the target


class LiveView:
    """An observer that draws on a terminal while it is entered.

    It redraws on events and once a second: anything livelier would take time from the models being timed.

    Args:
        title: What is tuned.
        console: Where; stderr by default, so that stdout holds the result alone.
        clock: Monotonic seconds; another one in tests.
    """

    def __init__(self, title: str, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._title = title
        self._console = console or Console(stderr=True, highlight=False)
        self._clock = clock
        self._progress = Progress(clock)
        self._ended = False
        self._drawn = 0.0
        self._live = Live(
            console=self._console,
            get_renderable=self.render,
            refresh_per_second=1,
            vertical_overflow="crop",
            # The user's prints appear above the view; a redirected stdout keeps receiving them unchanged.
            redirect_stdout=sys.stdout.isatty(),
        )

    def __enter__(self) -> LiveView:
        self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = True
        self._live.stop()

    def __call__(self, event: Event) -> None:
        """Take one event in and redraw."""
        self._progress(event)
        if isinstance(event, Noted):
            style, mark = ("yellow", "!") if event.warning else ("dim", "·")
            self._console.print(Text(f"{mark} {event.text}", style=style))
        elif isinstance(event, TrialFinished) and event.error:
            self._console.print(Text(f"! trial {event.number} failed: {event.error}", style="red"))
        now = self._clock()
        if not isinstance(event, Progressed) or now - self._drawn >= PAUSE:
            self._drawn = now
            self._live.refresh()

    def render(self) -> RenderableType:
        """The view as it stands."""
        head = Table.grid(expand=True)
        head.add_column(overflow="ellipsis", no_wrap=True)
        head.add_column(justify="right")
        head.add_row(
            Text.assemble(("autoquant ", "bold"), self._title), Text(write.clock(self._progress.elapsed()), style="dim")
        )
        parts: list[RenderableType] = [head, self._steps()]
        if self._progress.search is not None:
            parts += [Text(), self._best()]
            if self._progress.trials or self._progress.running:
                parts += [Text(), self._trials()]
        return Group(*parts)

    # -- phases -------------------------------------------------------------------------------------------------

    def _steps(self) -> Table:
        known = self._progress
        table = Table.grid(padding=(0, 1))
        table.add_column(width=1)
        table.add_column(width=11, no_wrap=True)
        table.add_column(overflow="ellipsis", no_wrap=True)
        table.add_column(min_width=0)
        for phase in known.spent:
            active = phase == known.phase and not self._ended
            mark = Text("●", style="cyan") if active else Text("✓", style="green")
            if self._ended and phase == known.phase and phase != "deliver":
                mark = Text("■", style="yellow")
            bar = self._bar(phase) if active else None
            table.add_row(mark, Text(phase, style="bold" if active else ""), self._detail(phase, active), bar or "")
        return table

    def _detail(self, phase: Phase, active: bool) -> Text:
        known = self._progress
        words = [word for word in (self._found(phase), write.clock(known.seconds(phase))) if word]
        if not active:
            return Text(" · ".join(words), style="dim")
        left = known.remaining()
        if left is not None:
            words.append(f"{'at most' if left.bound else 'about'} {write.clock(left.seconds)} left")
        elif phase == "search" and known.search is not None and known.search.max_trials is None:
            words.append("until nothing improves")
        return Text(" · ".join(words))

    def _bar(self, phase: Phase) -> ProgressBar | None:
        known = self._progress
        done, total = known.done, known.total
        if phase == "search":  # whose units are the samples of the running trial
            done, total = known.told, known.search.max_trials if known.search else None
        if not total or self._console.width < 100:
            return None
        return ProgressBar(total=total, completed=min(done, total), width=16)

    def _found(self, phase: Phase) -> str:
        known = self._progress
        if phase == "baseline" and known.baseline is not None:
            event = known.baseline
            words = f"metric {write.metric(event.metric)}"
            if event.samples is not None:
                words += f" on {write.many(event.samples, 'sample')}"
            return words + (f" · {write.milliseconds(event.latency_ms)} a run" if event.latency_ms is not None else "")
        if phase == "search":
            total = f" of {known.search.max_trials}" if known.search and known.search.max_trials else ""
            held = sum(trial.feasible for trial in known.trials)
            stopped = sum(trial.state == "pruned" for trial in known.trials)
            failed = sum(trial.state == "failed" for trial in known.trials)
            words = f"{known.told}{total} trials" if known.told != 1 or total else "1 trial"
            for number, what in ((held, "holding"), (stopped, "stopped early"), (failed, "failed")):
                words += f", {number} {what}" if number else ""
            return words
        units = known.units.get(phase)
        if not units:
            return ""
        noun = {"speed": "probe", "sensitivity": "probe", "deliver": "step", "load": "step"}.get(phase, "sample")
        if phase == known.phase and known.total:
            return f"{write.count(known.done)} of {write.many(known.total, noun)}"
        return write.many(units, noun)

    # -- trials -------------------------------------------------------------------------------------------------

    def _best(self) -> Text:
        known = self._progress
        assert known.search is not None
        goal = f"drop ≤ {known.search.target}"
        best = known.best
        if best is not None:
            text = Text.assemble(
                ("best ", "bold green"), f"trial {best.number} · metric {write.metric(best.metric)} · "
            )
            better = best.drop is not None and best.drop < 0
            words = f"{write.drop(-(best.drop or 0.0), known.relative)} better than float" if better else ""
            text.append(
                words or f"drop {write.drop(best.drop, known.relative)} of {known.search.target}", style="green"
            )
            text.append(f" · {best.int8_layers}/{known.search.layers} layers int8")
            if best.speedup is not None:
                text.append(f" · {write.speedup(best.speedup)} as fast")
            return text
        if known.best_number is not None:
            return Text.assemble(
                ("best ", "bold green"), f"trial {known.best_number}, from an earlier run, holds {goal}"
            )
        text = Text.assemble(("best ", "bold"), f"nothing holds {goal} yet")
        closest = known.closest
        if closest is not None:
            text.append(f"; closest is trial {closest.number} with {write.drop(closest.drop, known.relative)}")
        return text

    def _trials(self) -> Table:
        known = self._progress
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
        timed = any(trial.speedup is not None for trial in known.trials)
        wide = self._console.width >= 76
        for name, justify in (
            ("", "left"),
            ("trial", "right"),
            ("step", "left"),
            ("metric", "right"),
            ("drop", "right"),
        ):
            table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
        if wide:
            table.add_column(Text("0" + "target".center(2 * GAUGE - 1)), no_wrap=True)
        table.add_column("speed" if timed else "cost", justify="right", no_wrap=True)
        table.add_column("int8", justify="right", no_wrap=True)
        table.add_column("time", justify="right", no_wrap=True)
        room = max(1, min(ROWS, self._console.height - len(known.spent) - 6 - len(known.running)))
        for trial in known.trials[-room:]:
            table.add_row(*self._finished(trial, timed, wide))
        for started in list(known.running.values()):
            table.add_row(*self._running(started, wide))
        return table

    def _finished(self, trial: TrialFinished, timed: bool, wide: bool) -> list[RenderableType]:
        known = self._progress
        marks = {"pruned": ("╌", "dim"), "failed": ("✗", "red"), "complete": ("·", "")}
        mark, style = ("✓", "green") if trial.feasible else marks[trial.state]
        if trial.number == known.best_number:
            mark, style = "★", "bold green"
        phase = known.phases.get(trial.number, "")
        if trial.state == "failed":
            cells: list[RenderableType] = [
                Text(mark, style="red"),
                str(trial.number),
                phase,
                Text("failed", style="red"),
            ]
            return [*cells, "", *([""] if wide else []), "", "", write.seconds(trial.seconds)]
        drop = write.drop(trial.drop, known.relative)
        cost = write.speedup(trial.speedup) if timed else (write.MISSING if trial.cost is None else f"{trial.cost:.3f}")
        seen = trial.state == "pruned" and trial.samples is not None
        row: list[RenderableType] = [
            Text(mark, style=style),
            str(trial.number),
            phase,
            Text(f"{write.count(trial.samples or 0)} samples", style="dim") if seen else write.metric(trial.metric),
            Text(f"> {drop}" if trial.state == "pruned" else drop, style="green" if trial.feasible else "red"),
        ]
        if wide:
            row.append(gauge(trial.drop, known.target, trial.feasible))
        layers = f"/{known.search.layers}" if known.search else ""
        return [
            *row,
            cost,
            f"{trial.int8_layers}{layers}",
            Text("reused", style="dim") if trial.reused else write.seconds(trial.seconds),
        ]

    def _running(self, started: TrialStarted, wide: bool) -> list[RenderableType]:
        known = self._progress
        share = f"{known.done / known.total:.0%}" if known.total else ""
        row: list[RenderableType] = [
            Text("" if self._ended else "●", style="cyan"),
            str(started.number),
            started.phase,
            Text("stopped" if self._ended else "scoring", style="dim"),
            Text("" if self._ended else share, style="dim"),
        ]
        return [*row, *([""] if wide else []), "", f"{started.int8_layers}/{started.layers}", ""]


def gauge(drop: float | None, target: float | None, feasible: bool) -> Text:
    """A drop as a bar from 0 to twice the target, the target marked in the middle."""
    if drop is None or not target:
        return Text()
    filled = round(min(2.0, max(0.0, drop / target)) * GAUGE)
    # Rounding must not show a drop beyond the target as within it.
    filled = min(filled, GAUGE) if feasible else max(filled, GAUGE + 1)
    colour = "green" if feasible else "red"
    text = Text()
    for cell in range(2 * GAUGE):
        if cell == GAUGE:
            text.append("┃", style="bold")
        text.append("━" if cell < filled else "╌", style=colour if cell < filled else "dim")
    return text
