import io

from autoquant.tuner.cli.plain import PlainLog
from autoquant.tuner.study.events import BaselineScored, PhaseStarted, Progressed, SearchStarted, TrialFinished

from tests.tuner.cli.test_progress import Clock
from tests.tuner.report.made import events


def lines(log: io.StringIO) -> list[str]:
    return [line.partition("] ")[2] for line in log.getvalue().splitlines()]


def test_a_whole_run_in_lines() -> None:
    log = io.StringIO()
    view = PlainLog(log, Clock())
    for event in events():
        view(event)
    assert lines(log) == [
        "load",
        "opset lifted from 11 to 17",
        "baseline",
        "float model: metric 0.7148 on 1,490 samples, 12.4 ms a run, scored in 9.1 s",
        "calibration",
        "warning: no calibration() in the eval file",
        "searching 12 layers: drop at most 1%, least latency, strategy auto, at most 10 trials",
        "search",
        "trial 0 (screen): metric 0.6998, drop 2.10% too much, int8 12/12, speed 1.82×, 8.1 s",
        "trial 1 (screen): metric 0.5790, drop 19.00% too much, int8 12/12, speed 1.85×, 8.1 s",
        "sensitivity",
        "search",
        "trial 2 (bisect): metric 0.7119, drop 0.40% holds, int8 6/12, speed 1.43×, 8.1 s, best so far",
        "trial 3 (bisect): stopped early, drop above 2.00%, 8.1 s",
        "trial 4 (bisect): failed: cannot <load> it",
        "trial 5 (prune-back): metric 0.7101, drop 0.66% holds, int8 9/12, speed 1.72×, 8.1 s, best so far",
        "confirm",
        "deliver",
    ]


def test_progress_is_told_now_and_then() -> None:
    clock, log = Clock(), io.StringIO()
    view = PlainLog(log, clock)
    view(PhaseStarted("baseline"))
    for done in range(1, 41):
        clock.now += 1
        view(Progressed(done * 10, 400))
    assert lines(log)[1:] == [
        "baseline: 100 of 400, about 0:30 left",
        "baseline: 200 of 400, about 0:20 left",
        "baseline: 300 of 400, about 0:10 left",
        "baseline: 400 of 400, about 0:00 left",
    ]
    assert log.getvalue().startswith("[0:00] baseline\n[0:10] baseline: 100")


def test_a_front_is_announced_as_one() -> None:
    log = io.StringIO()
    PlainLog(log, Clock())(SearchStarted(50, "1%", "latency,drop", "auto", 24, None))
    (line,) = lines(log)
    assert line == (
        "searching 50 layers: the front of latency against drop, 1% of interest, strategy auto, at most 24 trials"
    )


def test_budgets_resumption_and_reuse_are_said() -> None:
    log = io.StringIO()
    view = PlainLog(log, Clock())
    view(SearchStarted(50, "0.01", "ops", "tpe", None, 1800.0, resumed=1))
    view(TrialFinished(1, "complete", 0.7, 0.005, 0.4, True, 0.1, 50, None, 1, reused=True))
    assert lines(log) == [
        "searching 50 layers: drop at most 0.01, least ops, strategy tpe, 30 min 00 s; resumed with 1 trial",
        "trial 1: metric 0.7000, drop 0.0050 holds, int8 50/50, cost 0.400, scored before, best so far",
    ]


def test_a_trial_stopped_early_says_how_far_it_came() -> None:
    log = io.StringIO()
    view = PlainLog(log, Clock())
    view(BaselineScored(0.7, 1000, 3.0))
    view(SearchStarted(12, "1%", "ops", "auto", None, None))
    view(TrialFinished(0, "pruned", 0.6, 0.05, None, False, 0.5, 12, samples=96))
    assert lines(log)[-1] == "trial 0: stopped early after 96 of 1,000 samples, drop above 5.00%, 0.5 s"
