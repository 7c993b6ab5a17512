"""A front of cost against drop, from the request to each point's file."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from autoquant.evaluators.base import Latency
from autoquant.evaluators.evaluation import load_evaluation
from autoquant.evaluators.stopwatch import Stopwatch
from autoquant.tuner.cli.main import main
from autoquant.tuner.study.front import among, on_front
from autoquant.tuner.study.recover import open_study
from autoquant.tuner.study.request import Request, TargetDrop
from autoquant.tuner.study.result import Result
from autoquant.tuner.study.trial import TrialRecord
from onnxruntime import InferenceSession

from tests import task
from tests.strategies.simulator import make_space
from tests.tuner.study.test_tune import FINE

RECIPE = make_space(1).default()


def tuned(of: task.Task, *words: str) -> int:
    """The command line, with what it prints put aside."""
    usual = ["tune", "--model", str(of.model), "--eval", str(of.evaluate), "--out", str(of.out), "--threads", "1"]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return main([*usual, *words])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> task.Task:
    """A tuned task with a front. Read only."""
    of = task.write(tmp_path_factory.mktemp("front"))
    of.evaluate.write_text(FINE)
    assert tuned(of, "--objective", "ops,drop", "--target-drop", "0.35%", "--max-trials", "14") == 0
    return of


def result(of: task.Task) -> Result:
    return Result.from_json(json.loads((of.out / "result.json").read_text()))


def test_the_winner_is_the_cheapest_point_within_the_target(made: task.Task) -> None:
    found = result(made)
    assert (found.status, found.objective) == ("met", "ops,drop")
    assert len(found.front) >= 4
    inside = [point for point in found.front if point["drop"] <= 0.0035]
    assert found.tuned is not None
    assert found.tuned.trial == inside[-1]["trial"]
    assert [point["drop"] for point in found.front] == sorted(point["drop"] for point in found.front)
    assert [point["cost"] for point in found.front] == sorted((point["cost"] for point in found.front), reverse=True)
    assert any(point["drop"] > 0.0035 for point in found.front), "a point above the target is still a point"


def test_every_point_is_exported_as_it_was_scored(made: task.Task, tmp_path: Path) -> None:
    evaluation = load_evaluation(str(made.evaluate), model_path=made.model)
    for point in result(made).front:
        path = tmp_path / f"{point['trial']}.onnx"
        words = ["export", str(made.out), "--trial", str(point["trial"]), "--out", str(path)]
        with contextlib.redirect_stdout(io.StringIO()):
            assert main(words) == 0
        scored = evaluation.score(InferenceSession(str(path), providers=["CPUExecutionProvider"]))
        assert scored.metric == pytest.approx(point["metric"], abs=1e-7)


def test_it_is_listed_written_and_drawn(made: task.Task, capsys: pytest.CaptureFixture[str]) -> None:
    numbers = [point["trial"] for point in result(made).front]
    with (made.out / "front.csv").open(newline="") as file:
        assert [int(row["trial"]) for row in csv.DictReader(file)] == numbers
    assert main(["trials", str(made.out), "--front", "--csv"]) == 0
    listed = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert [int(row["number"]) for row in listed] == numbers
    assert main(["trials", str(made.out), "--front"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if any(mark in line for mark in "★✓✗")]) >= len(numbers)
    page = (made.out / "report.html").read_text()
    assert "The front" in page
    assert "front-line" in page


def test_nothing_is_raced_away(made: task.Task) -> None:
    with open_study(made.out, result(made).study["name"]) as store:
        trials = store.trials()
    assert all(trial.state == "complete" for trial in trials)
    assert sum(not trial.feasible for trial in trials) >= 2


def test_a_study_without_a_front_asked_for_has_one_all_the_same(made: task.Task, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(made.out, out)
    assert tuned(made, "--objective", "ops", "--target-drop", "5%", "--max-trials", "1", "--out", str(out)) == 0
    with open_study(out, "model 5% ops auto") as store:
        (point,) = on_front(store)
        assert point.number == store.trials()[0].number
        assert store.get("front") is None


def test_points_are_timed_afresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One lucky timing puts a point on the front; the second look takes it off."""
    of = task.write(tmp_path)
    of.evaluate.write_text(FINE)
    rng = np.random.default_rng(0)
    searching = True

    def compare(self: Stopwatch, session: InferenceSession, **options: object) -> Latency:
        speedup = float(rng.uniform(1.2, 2.0)) if searching else 1.5
        return Latency(1.0, 1.0 / speedup, speedup, (speedup * 0.99, speedup * 1.01), 21)

    from autoquant.tuner.study import tune as runs

    confirm = runs.confirm

    def confirming(*args: object) -> object:
        nonlocal searching
        searching = False
        return confirm(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(Stopwatch, "compare", compare)
    monkeypatch.setattr(runs, "confirm", confirming)
    found = runs.tune(
        Request(
            of.model, str(of.evaluate), TargetDrop.parse("5%"), out=of.out, objective="latency,drop", strategy="random",
            max_trials=6, threads=1,
        )
    )  # fmt: skip
    with open_study(of.out) as store:
        trials = store.trials()
        kept = on_front(store)
    assert len(among(trials)) > 1, "by the search's own timings several points stood out"
    assert {point["speedup"] for point in found.front} == {1.5}
    assert found.tuned is not None
    least = min(trial.drop or 0.0 for trial in trials if trial.state == "complete")
    others = [point for point in found.front if point["trial"] != found.tuned.trial]
    assert all(point["drop"] == least for point in others), "all are equally fast"
    assert [record.number for record in kept] == [point["trial"] for point in found.front]


def test_auto_finds_a_front_by_the_clock(tmp_path: Path) -> None:
    of = task.write(tmp_path)
    of.evaluate.write_text(FINE)
    assert tuned(of, "--objective", "latency,drop", "--target-drop", "5%", "--max-trials", "5") in (0, 1)
    found = result(of)
    assert found.status in ("met", "no_gain")
    assert 1 <= found.trials["total"] <= 6, "the float model may be scored beside them"
    assert all(point["speedup_ci"][0] > 1.0 for point in found.front), "each is faster than the file beyond noise"
    assert (of.out / "front.csv").exists() == bool(found.front)


def test_a_measured_cost_has_its_noise_and_a_computed_one_has_none() -> None:
    def record(number: int, drop: float, cost: float, **more: object) -> TrialRecord:
        return TrialRecord(number, RECIPE, "complete", drop=drop, cost=cost, **more)  # type: ignore[arg-type]

    timed = [
        record(0, 0.0, 1 / 1.5, speedup=1.5, speedup_ci=(1.45, 1.55)),
        record(1, 0.001, 1 / 1.52, speedup=1.52, speedup_ci=(1.47, 1.57)),
    ]
    assert [trial.number for trial in among(timed)] == [0]
    computed = [record(0, 0.0, 0.5, speedup=1.5, speedup_ci=(1.0, 2.0)), record(1, 0.001, 0.49)]
    assert [trial.number for trial in among(computed)] == [0, 1]
