import pytest
from autoquant.tuner.cli.progress import Progress
from autoquant.tuner.study.events import (
    PhaseStarted,
    Progressed,
    SearchStarted,
    TrialFinished,
    TrialStarted,
)

from tests.tuner.report.made import events


class Clock:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def finished(number: int, seconds: float = 10.0, best: int | None = None, **other: object) -> TrialFinished:
    return TrialFinished(number, "complete", 0.7, 0.02, 0.5, best == number, seconds, 9, None, best, **other)  # type: ignore[arg-type]


def test_a_whole_run() -> None:
    known = Progress(Clock())
    for event in events():
        known(event)
    assert known.phase == "deliver"
    assert list(known.spent) == ["load", "baseline", "calibration", "search", "sensitivity", "confirm", "deliver"]
    assert known.best is not None
    assert known.best.number == 5
    assert known.closest is not None
    assert known.closest.number == 2
    assert known.target == 0.01
    assert known.running == {}
    assert known.units["sensitivity"] == 12


def test_phases_that_alternate_keep_their_time() -> None:
    clock = Clock()
    known = Progress(clock)
    for phase, seconds in (("search", 5), ("sensitivity", 2), ("search", 4)):
        known(PhaseStarted(phase))  # type: ignore[arg-type]
        clock.now += seconds
    assert known.seconds("search") == 9
    assert known.seconds("sensitivity") == 2


def test_time_left_in_a_phase_follows_its_pace() -> None:
    clock = Clock()
    known = Progress(clock)
    known(PhaseStarted("calibration"))
    assert known.remaining() is None
    clock.now += 10
    known(Progressed(25, 100))
    left = known.remaining()
    assert left is not None
    assert (left.seconds, left.bound) == (30.0, False)
    known(Progressed(26, None))
    assert known.remaining() is None


def test_time_left_of_a_search_counts_trials_that_were_there_and_not_those_reused() -> None:
    clock = Clock()
    known = Progress(clock)
    known(SearchStarted(9, "0.01", "ops", "auto", 20, None, resumed=8))
    known(PhaseStarted("search"))
    known(finished(8, 10.0))
    known(finished(9, 0.0, reused=True))
    left = known.remaining()
    assert left is not None
    assert left.seconds == 100.0
    assert known.told == 10
    assert known.target == 0.01
    assert not known.relative


@pytest.mark.parametrize(("passed", "expected"), [(10.0, (50.0, True)), (90.0, (0.0, True))])
def test_a_timeout_bounds_the_time_left(passed: float, expected: tuple[float, bool]) -> None:
    clock = Clock()
    known = Progress(clock)
    known(SearchStarted(9, "1%", "ops", "auto", 1000, 60.0))
    known(PhaseStarted("search"))
    known(finished(0))
    clock.now += passed
    left = known.remaining()
    assert left is not None
    assert (left.seconds, left.bound) == expected


def test_without_a_budget_nothing_is_promised() -> None:
    known = Progress(Clock())
    known(SearchStarted(9, "1%", "ops", "auto", None, None))
    known(PhaseStarted("search"))
    known(finished(0))
    assert known.remaining() is None


def test_a_best_from_an_earlier_run_is_known_by_number_alone() -> None:
    known = Progress(Clock())
    known(SearchStarted(9, "1%", "ops", "auto", None, None, resumed=5))
    known(finished(5, best=3))
    assert known.best_number == 3
    assert known.best is None


def test_samples_of_a_trial_start_at_none() -> None:
    known = Progress(Clock())
    known(PhaseStarted("search"))
    known(Progressed(50, 100))
    known(TrialStarted(1, "screen", 9, 9))
    assert (known.done, known.total) == (0, None)
