"""Warm starts: recipe.json files and the best of sibling studies are scored first."""

import json
import re
from pathlib import Path

import pytest
from autoquant.errors import OptionError
from autoquant.tuner.quantization.recipefile import FORMAT
from autoquant.tuner.study.events import Event, Noted, TrialStarted
from autoquant.tuner.study.request import Request, TargetDrop
from autoquant.tuner.study.tune import tune
from autoquant.tuner.study.warm import fitted, parameters

from tests import task
from tests.tuner.study.storing import make_space
from tests.tuner.study.test_tune import FINE, UNREACHABLE


def written(path: Path, chosen: object, form: str = FORMAT) -> Path:
    path.write_text(json.dumps({"format": form, "parameters": chosen}))
    return path


def started(of: task.Task, drop: str = "5%", **options: object) -> tuple[list[TrialStarted], list[Event]]:
    events: list[Event] = []
    asked = Request(
        of.model, str(of.evaluate), TargetDrop.parse(drop), out=of.out, objective="ops", threads=1, **options
    )
    tune(asked, events.append)
    return [event for event in events if isinstance(event, TrialStarted)], events


def test_a_recipe_of_another_space_is_fitted_by_name(tmp_path: Path):
    space = make_space(3)
    chosen = {"layer/block.1/Conv": "fp16", "layer/elsewhere": "int8", "op/Add": "int8", "activation/calibrator": "mse"}
    recipe, note = fitted(chosen, space, tmp_path / "r.json")
    assert recipe == space.default().replace(
        {"layer/block.1/Conv": "fp32", "op/Add": "int8", "activation/calibrator": "mse"}
    )
    assert "1 unknown here (layer/elsewhere)" in note
    assert "2 layers it does not name take the default" in note
    assert "1 choices not offered here (layer/block.1/Conv)" in note
    assert fitted(dict(space.default()), space, tmp_path) == (space.default(), "")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("not JSON", "is not JSON"),
        ("[]", "is no recipe: its `format` must be"),
        (json.dumps({"format": "other", "parameters": {}}), "is no recipe: its `format` must be"),
        (json.dumps({"format": FORMAT, "parameters": {"layer/a": 1}}), "is no recipe: its `format` must be"),
    ],
)
def test_what_is_no_recipe_is_refused_in_two_lines(tmp_path: Path, content: str, words: str):
    path = tmp_path / "recipe.json"
    path.write_text(content)
    with pytest.raises(OptionError, match=re.escape(words)) as raised:
        parameters(path)
    assert len(str(raised.value).splitlines()) <= 2
    with pytest.raises(OptionError, match="cannot read"):
        parameters(tmp_path / "missing.json")


def test_a_recipe_of_another_model_is_refused_before_anything_runs(tmp_path: Path):
    made = task.write(tmp_path)
    other = written(tmp_path / "other.json", {"layer/nowhere": "int8"})
    with pytest.raises(OptionError, match="has no layer of this model: it names nowhere; here there are ") as raised:
        started(made, warm=(other,))
    assert len(str(raised.value).splitlines()) == 2
    assert not (made.out / "study.db").exists()


def test_given_recipes_are_scored_first_and_once(tmp_path: Path):
    made = task.write(tmp_path)
    first = written(tmp_path / "a.json", {"layer/stem": "fp32", "op/Softmax": "int8", "layer/other": "int8"})
    second = written(tmp_path / "b.json", {"layer/stem": "int8", "activation/calibrator": "mse"})
    trials, events = started(made, warm=(first, second), max_trials=3)
    assert [trial.phase for trial in trials] == ["warm", "warm", "screen"]
    assert trials[1].settings["activation/calibrator"] == "mse"
    assert any(isinstance(event, Noted) and "2 unknown here" in event.text for event in events)
    again, _ = started(made, warm=(first, second), max_trials=5)
    assert "warm" not in [trial.phase for trial in again]


def test_a_sibling_s_best_that_holds_is_the_start(tmp_path: Path):
    made = task.write(tmp_path)
    started(made, "5%", max_trials=2)
    trials, events = started(made, "10%", max_trials=2)
    assert trials[0].phase == "warm"
    finished = [event for event in events if type(event).__name__ == "TrialFinished"]
    assert finished[0].reused


def test_a_sibling_s_best_that_does_not_hold_is_no_start(tmp_path: Path):
    made = task.write(tmp_path)
    made.evaluate.write_text(FINE)
    trials, _ = started(made, "5%", max_trials=1)
    assert [trial.phase for trial in trials] == ["screen"]
    strict, _ = started(made, UNREACHABLE, max_trials=2)
    assert "warm" not in [trial.phase for trial in strict]
