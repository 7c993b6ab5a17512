import io
import sys

import pytest
from autoquant.tuner.cli.live import GAUGE, LiveView, gauge
from autoquant.tuner.cli.observe import observe, wants_live
from autoquant.tuner.cli.plain import PlainLog
from autoquant.tuner.study.events import (
    PhaseStarted,
    Progressed,
    SearchStarted,
    TrialFinished,
    TrialStarted,
)
from rich.console import Console

from tests.tuner.cli.test_progress import Clock, finished
from tests.tuner.report.made import events


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def drawn(view: LiveView, width: int = 100, height: int = 40) -> str:
    console = Console(file=io.StringIO(), width=width, height=height, highlight=False, color_system=None)
    with console.capture() as captured:
        console.print(view.render())
    return captured.get()


def made(width: int = 100, height: int = 40) -> LiveView:
    return LiveView("m.onnx", Console(file=io.StringIO(), width=width, height=height, highlight=False), Clock())


def test_shows_phase_trials_best_drop_and_target() -> None:
    view = made()
    for event in events():
        view(event)
        if isinstance(event, TrialFinished) and event.number == 5:
            shown = drawn(view)
            break
    for words in (
        "autoquant m.onnx",
        "✓ baseline",
        "metric 0.7148 on 1,490 samples · 12.4 ms a run",
        "128 samples",
        "6 of 10 trials, 2 holding, 1 stopped early, 1 failed",
        "about 0:32 left",
        "best trial 5 · metric 0.7101 · drop 0.66% of 1% · 9/12 layers int8 · 1.72× as fast",
        "> 2.00%",
        "19.00%",
    ):
        assert words in shown, words
    rows = [line for line in shown.splitlines() if "/12 " in line and "best" not in line]
    assert rows[-1].startswith("★")


def test_a_trial_stopped_early_shows_its_samples() -> None:
    view = made()
    view(SearchStarted(12, "1%", "ops", "auto", None, None))
    view(TrialStarted(0, "screen", 12, 12))
    view(TrialFinished(0, "pruned", 0.6, 0.05, None, False, 0.5, 12, samples=1096))
    (row,) = (line for line in drawn(view).splitlines() if line.startswith("╌"))
    assert "1,096 samples" in row
    assert "> 5.00%" in row


def test_the_running_trial_shows_how_far_it_is() -> None:
    view = made()
    view(SearchStarted(12, "1%", "ops", "auto", None, None))
    view(PhaseStarted("search"))
    view(TrialStarted(0, "screen", 12, 12))
    view(Progressed(745, 1490))
    shown = drawn(view)
    assert "scoring   50%" in shown
    assert "until nothing improves" in shown


def test_nothing_holds_yet_names_the_closest() -> None:
    view = made()
    view(SearchStarted(12, "1%", "ops", "auto", None, None))
    assert "nothing holds drop ≤ 1% yet" in drawn(view)
    view(finished(0))
    assert "closest is trial 0 with 2.00%" in drawn(view)


def test_a_best_of_an_earlier_run_is_named() -> None:
    view = made()
    view(SearchStarted(12, "1%", "ops", "auto", None, None, resumed=4))
    view(finished(5, best=3))
    assert "best trial 3, from an earlier run, holds drop ≤ 1%" in drawn(view)


@pytest.mark.parametrize(("width", "height"), [(50, 12), (80, 24), (200, 60)])
def test_fits_its_terminal(width: int, height: int) -> None:
    view = made(width, height)
    for event in events():
        view(event)
        lines = drawn(view, width, height).splitlines()
        assert all(len(line) <= width for line in lines)
        if height >= 24:
            assert len(lines) <= height


def test_after_the_end_nothing_seems_to_run() -> None:
    view = made()
    with view:
        view(SearchStarted(12, "1%", "ops", "auto", None, None))
        view(PhaseStarted("search"))
        view(TrialStarted(0, "screen", 12, 12))
    shown = drawn(view)
    assert "●" not in shown
    assert "stopped" in shown


def test_notes_and_failures_stay_above_the_view() -> None:
    stream = Terminal()
    with LiveView("m.onnx", Console(file=stream, width=100, force_terminal=True, highlight=False), Clock()) as view:
        for event in events():
            view(event)
    shown = stream.getvalue()
    assert "opset lifted from 11 to 17" in shown
    assert "! trial 4 failed: cannot <load> it" in shown


def test_the_users_prints_reach_a_redirected_stdout_unchanged(capsys: pytest.CaptureFixture[str]) -> None:
    line = "a line of the user's own " * 20
    with LiveView("m.onnx", Console(file=Terminal(), width=60, force_terminal=True)):
        print(line)
    assert capsys.readouterr().out == line + "\n"


@pytest.mark.parametrize(
    ("drop", "feasible", "filled"),
    [(0.0, True, 0), (-0.5, True, 0), (0.01, True, 5), (0.0101, False, 6), (0.02, False, 10), (9.0, False, 10)],
)
def test_the_gauge_never_hides_which_side_of_the_target_a_drop_is(drop: float, feasible: bool, filled: int) -> None:
    bar = gauge(drop, 0.01, feasible).plain
    assert bar.count("━") == filled
    assert bar[GAUGE] == "┃"
    assert len(bar) == 2 * GAUGE + 1


def test_who_gets_the_live_view(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    assert wants_live(Terminal())
    assert not wants_live(io.StringIO())
    for name, value in (("NO_COLOR", "1"), ("CI", "true"), ("TERM", "dumb")):
        with monkeypatch.context() as changed:
            changed.setenv(name, value)
            assert not wants_live(Terminal())


def test_observe_draws_on_a_terminal_and_logs_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    with observe("m.onnx") as log:
        assert isinstance(log, PlainLog)
    monkeypatch.setattr(sys, "stderr", Terminal())
    with observe("m.onnx") as view:
        assert isinstance(view, LiveView)
