"""Whole runs with a hold-out: what the search sees, what the final word is, what is compared with what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from autoquant.errors import EvaluationError, OptionError
from autoquant.evaluators.holdout import Holdout
from autoquant.tuner.study.events import BaselineScored
from autoquant.tuner.study.heldout import HeldOut, warnings
from autoquant.tuner.study.recover import open_study
from autoquant.tuner.study.request import TargetDrop, fraction
from autoquant.tuner.study.result import Result

from tests import task
from tests.tuner.study.test_tune import FINE, finished, run

LOG = """
    with open(here / "seen.txt", "a") as file:
        file.write(" ".join(map(str, indices)) + "\\n")
"""
LOGGED = FINE.replace("def score(session, indices):\n", f"def score(session, indices):{LOG}")

# On the samples held out, what is lost is lost a hundred times over.
TREACHEROUS = FINE.replace(
    "    return np.clip(1.0 - error, 0.0, 1.0)",
    "    from autoquant.evaluators.holdout import Holdout\n"
    "    error = error * np.where(np.isin(indices, Holdout(0.25).split(96)[1]), 100.0, 1.0)\n"
    "    return np.clip(1.0 - error, 0.0, 1.0)",
)

STREAM = """
from pathlib import Path
import numpy as np

data = np.load(Path(__file__).with_name("data.npz"))


def evaluate(session):
    for i in range(0, 96, 8):
        yield session.run(None, {"x": data["x"][i : i + 8]})[0].argmax(-1) == data["labels"][i : i + 8]
"""


def written(folder: Path, text: str) -> task.Task:
    made = task.write(folder)
    made.evaluate.write_text(text)
    return made


def test_the_search_never_sees_what_is_held_out(tmp_path: Path) -> None:
    made = written(tmp_path, LOGGED)
    result, events = run(made, holdout=0.25)
    search, held = Holdout(0.25).split(96)
    calls = [set(map(int, line.split())) for line in (tmp_path / "seen.txt").read_text().splitlines()]
    apart = [bool(call & set(held)) for call in calls]
    assert apart == [False] * (len(calls) - 2) + [True, True], "only the float model and the winner, at the end"
    assert all(call <= set(search) for call in calls[:-2])
    assert next(event.samples for event in events if isinstance(event, BaselineScored)) == 72
    assert result.scored_on["samples"] == "75 %, seed 0"
    assert result.holdout is not None
    assert result.status == "met"
    assert result.holdout["samples"] == 24
    assert result.holdout["fraction"] == 0.25
    assert result.holdout["holds"]
    low, high = result.holdout["drop_ci"]
    assert low <= result.holdout["drop"] <= high
    assert result.holdout["baseline"] - result.holdout["metric"] == pytest.approx(result.holdout["drop"])
    assert result.trials["evaluations"] == pytest.approx(result.trials["complete"] + 1 + 2 / 3, abs=1e-3)
    assert Result.from_json(json.loads(json.dumps(result.to_json()))).to_json() == result.to_json()


def test_failing_where_nobody_looked_is_not_met(tmp_path: Path) -> None:
    made = written(tmp_path, TREACHEROUS)
    result, _ = run(made, "5%", holdout=0.25)
    assert result.status == "not_met"
    assert result.exit_status == 1
    assert "holds 5% on the samples of the search, but loses" in result.why
    assert "on the 24 held out" in result.why
    assert result.tuned is not None
    assert result.tuned.drop <= 0.05
    assert result.holdout is not None
    assert not result.holdout["holds"]
    assert result.holdout["drop"] > 0.05
    assert result.files["model"].exists(), "the best effort is written all the same"
    assert result.diagnosis is not None
    assert "held out" in result.diagnosis["findings"][0]


def test_a_finished_study_does_not_look_again(tmp_path: Path) -> None:
    made = written(tmp_path, LOGGED)
    first, _ = run(made, holdout=0.25)
    (tmp_path / "seen.txt").unlink()
    again, events = run(made, holdout=0.25)
    assert not finished(events)
    assert again.to_json() == first.to_json()
    calls = [line.split() for line in (tmp_path / "seen.txt").read_text().splitlines()]
    assert [len(call) for call in calls] == [16], "only the baseline's few samples, scored again"


def test_the_look_is_remembered_when_the_run_goes_on(tmp_path: Path) -> None:
    made = written(tmp_path, LOGGED)
    first, _ = run(made, holdout=0.25, max_trials=1)
    (tmp_path / "seen.txt").unlink()
    more, _ = run(made, holdout=0.25, max_trials=2, strategy="auto")
    held = set(Holdout(0.25).split(96)[1])
    calls = [set(map(int, line.split())) for line in (tmp_path / "seen.txt").read_text().splitlines()]
    assert first.tuned is not None
    assert more.tuned is not None
    assert more.holdout is not None
    if more.tuned.trial == first.tuned.trial:
        assert not any(call & held for call in calls)
        assert more.holdout == first.holdout


def test_scores_of_other_samples_are_not_taken_over(tmp_path: Path) -> None:
    made = written(tmp_path, FINE)
    run(made, "5%", max_trials=1)
    held, events = run(made, "5%", max_trials=1, holdout=0.25)
    assert not any(event.reused for event in finished(events))
    other, events = run(made, "4%", max_trials=1, holdout=0.25)
    assert [event.reused for event in finished(events)] == [True], "of the same samples they are"
    _, events = run(made, "4%", max_trials=1, holdout=0.5)
    assert not any(event.reused for event in finished(events))
    plain, events = run(made, "4%", max_trials=1)
    assert [event.reused for event in finished(events)] == [True]
    assert len({result.study["name"] for result in (held, other, plain)}) == 3
    samples = {path.name: len(np.load(path)) for path in (made.out / "samples").glob("*.npy")}
    assert sorted(samples.values()) == [48, 72, 96]


def test_under_one_name_too_nothing_is_mixed(tmp_path: Path) -> None:
    made = written(tmp_path, FINE)
    whole, _ = run(made, "5%", study_name="mine", max_trials=1)
    part, events = run(made, "5%", study_name="mine", max_trials=2, holdout=0.25)
    assert whole.holdout is None
    assert part.holdout is not None
    assert len(finished(events)) == 1
    with open_study(made.out, "mine") as store:
        assert [record.scored_on.get("samples") for record in store.trials()] == [None, "75 %, seed 0"]


def test_a_stream_is_split_by_what_counts(tmp_path: Path) -> None:
    made = written(tmp_path, STREAM)
    result, _ = run(made, "50%", holdout=0.5, max_trials=2)
    assert result.holdout is not None
    assert result.holdout["samples"] == 48
    assert result.holdout["baseline"] == 1.0
    again, events = run(made, "50%", holdout=0.5, max_trials=2)
    assert not finished(events)
    assert again.to_json() == result.to_json()
    more, events = run(made, "50%", holdout=0.5, max_trials=4, strategy="random")
    assert all(event.state != "failed" for event in finished(events))
    assert more.holdout is not None


def test_one_number_cannot_be_split(tmp_path: Path) -> None:
    made = written(tmp_path, "def evaluate(session):\n    return 1.0\n")
    with pytest.raises(EvaluationError, match="--holdout 20% needs scores of single samples"):
        run(made, holdout=0.2)


@pytest.mark.parametrize(("text", "value"), [("20%", 0.2), ("0.2", 0.2), (" 12.5 % ", 0.125), (0.3, 0.3)])
def test_a_part_is_read(text: Any, value: float) -> None:
    assert fraction(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["0", "1", "100%", "20", "-5%", "a fifth", "nan"])
def test_what_is_no_part(text: str) -> None:
    with pytest.raises(OptionError, match=r"--holdout must lie between 0 and 1, as `20%` or `0\.2`"):
        fraction(text)


def said(**other: Any) -> str:
    values = {"fraction": 0.2, "samples": 500, "baseline": 0.9, "metric": 0.9, "drop": 0.0, "drop_ci": (-0.004, 0.004)}
    return " ".join(warnings(HeldOut(**{**values, "holds": True, **other}), TargetDrop(0.01, relative=False)))


def test_a_hold_out_that_cannot_tell_says_so() -> None:
    assert said() == ""
    assert "only 49 samples are held out" in said(samples=49)
    assert "tell the drop only to within -0.02 to 0.02" in said(drop_ci=(-0.02, 0.02))
    assert "have judged 3 models" in said(looks=3)
