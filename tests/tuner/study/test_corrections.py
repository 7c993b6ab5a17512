"""Corrections in whole runs: computed once, kept beside the study, and all that export and replay need."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from autoquant import recover
from autoquant.errors import OptionError, StudyError
from autoquant.strategies.words import BIAS, ROUNDING, WEIGHT_RANGE
from autoquant.tuner.cli.main import main
from autoquant.tuner.quantization import vault
from autoquant.tuner.study import baseline as baselines
from autoquant.tuner.study import corrections
from autoquant.tuner.study.corrections import CORRECTION
from autoquant.tuner.study.events import Event, Noted
from autoquant.tuner.study.export import export_trial, quantize_recipe
from autoquant.tuner.study.recover import open_study
from autoquant.tuner.study.request import Request, TargetDrop
from autoquant.tuner.study.result import Result
from autoquant.tuner.study.tune import tune

from tests import task, zoo

ALL = {ROUNDING: "gptq", BIAS: "on", WEIGHT_RANGE: "mse"}
MEASURED = {**ALL, BIAS: "empirical"}


def run(of: task.Task, **options: Any) -> tuple[Result, list[Event]]:
    events: list[Event] = []
    options = {"objective": "ops", "threads": 1, "max_trials": 1, "fix": ALL, "out": of.out} | options
    return tune(Request(of.model, str(of.evaluate), TargetDrop.parse("20%"), **options), events.append), events


def passes(events: list[Event]) -> int:
    return sum(isinstance(event, Noted) and event.text.startswith("a pass over the calibration") for event in events)


def kept(of: task.Task) -> list[Path]:
    return sorted((of.out / "corrections").glob("*.npy"))


@pytest.fixture
def made(tmp_path: Path) -> task.Task:
    return task.write(tmp_path)


@pytest.mark.parametrize("net", [zoo.conv_net, zoo.hardswish_net])
@pytest.mark.parametrize("calibration", [True, False])
@pytest.mark.parametrize("fix", [ALL, MEASURED], ids=["analytic", "empirical"])
def test_delivered_exported_recovered_and_replayed_are_one(net, calibration, fix, tmp_path: Path) -> None:
    made = task.write(tmp_path, net(), calibration=calibration)
    result, events = run(made, fix=fix)
    assert result.tuned is not None
    assert passes(events) == 1 + (fix is MEASURED)  # and one that draws a few samples
    delivered = result.files["model"].read_bytes()
    plain = run(made, fix={}, out=tmp_path / "plain")[0].files["model"].read_bytes()
    assert plain != delivered
    made.evaluate.unlink()  # no data
    (made.folder / "data.npz").unlink()
    with open_study(str(made.out)) as store:
        assert export_trial(store, 0, tmp_path / "a.onnx").read_bytes() == delivered
        assert store.trial(0).attributes["corrections_seconds"] > 0
    assert recover(made.model, made.out, 0) == recover(made.model, made.out)
    path, _ = quantize_recipe(made.model, result.files["recipe"], tmp_path / "b.onnx")
    assert path.read_bytes() == delivered


def test_files_are_named_by_their_content_and_hold_no_pickle(made: task.Task) -> None:
    run(made)
    assert kept(made)
    for path in kept(made):
        assert vault.load([path.parent], path.stem) is not None
        assert np.load(path, allow_pickle=False).dtype in (np.int8, np.float64)


def test_a_study_without_corrections_keeps_nothing(made: task.Task) -> None:
    _, events = run(made, fix=dict.fromkeys([ROUNDING], "nearest") | {BIAS: "off"})
    assert kept(made) == []
    assert passes(events) == 0


def test_the_folder_travels_with_the_study(made: task.Task, tmp_path: Path) -> None:
    delivered = run(made)[0].files["model"].read_bytes()
    moved = tmp_path / "moved"
    shutil.copytree(made.out, moved)
    shutil.rmtree(made.out)
    with open_study(str(moved)) as store:
        assert export_trial(store, 0, tmp_path / "a.onnx", made.model).read_bytes() == delivered
    path, _ = quantize_recipe(made.model, moved / "recipe.json", tmp_path / "b.onnx")
    assert path.read_bytes() == delivered


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\0\0")])
def test_a_missing_or_damaged_file_is_named(made: task.Task, tmp_path: Path, harm, capsys) -> None:
    run(made)
    recipe = made.out / "recipe.json"
    named = json.loads(recipe.read_text())["corrections"]
    assert {path.stem for path in kept(made)} == set(named.values())
    lost = next(path for path in kept(made) if np.load(path).dtype == np.int8)
    harm(lost)
    with open_study(str(made.out)) as store, pytest.raises(StudyError, match=lost.name) as caught:
        export_trial(store, 0, tmp_path / "a.onnx")
    assert len(str(caught.value).splitlines()) == 2
    with pytest.raises(OptionError, match=lost.name) as refused:
        quantize_recipe(made.model, recipe, tmp_path / "b.onnx")
    assert len(str(refused.value).splitlines()) == 2
    assert main(["export", str(made.out), "--trial", "0", "--out", str(tmp_path / "a.onnx")]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 2
    assert not (tmp_path / "a.onnx").exists()


def test_a_lost_file_is_computed_again_by_the_run(made: task.Task) -> None:
    delivered = run(made)[0].files["model"].read_bytes()
    before = [path.name for path in kept(made)]
    kept(made)[0].unlink()
    (made.out / "model.onnx").unlink()
    result, events = run(made)
    assert passes(events) == 1
    assert [path.name for path in kept(made)] == before
    assert result.files["model"].read_bytes() == delivered


@pytest.mark.parametrize("calibration", [True, False])
def test_a_run_cut_off_goes_on_layer_by_layer(tmp_path: Path, monkeypatch, calibration) -> None:
    made = task.write(tmp_path, calibration=calibration)
    alone = run(made, out=tmp_path / "alone")[0].files["model"].read_bytes()
    calls = []

    def dying(*arguments: Any) -> str:
        calls.append(arguments)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return save(*arguments)

    save = vault.save
    with monkeypatch.context() as patched:
        patched.setattr(corrections.vault, "save", dying)
        with pytest.raises(KeyboardInterrupt):
            run(made)
    there = {path.name: path.stat().st_mtime_ns for path in kept(made)}
    assert len(there) == 3
    measured = []
    monkeypatch.setattr(
        baselines, "measure", lambda *given, **more: measured.append(1) or measure(*given, **more), raising=True
    )
    result, events = run(made)
    assert passes(events) == 1
    assert len(measured) == (0 if calibration else 1)  # the recorded samples are gone with the process
    assert result.files["model"].read_bytes() == alone
    assert all(made.out.joinpath("corrections", name).stat().st_mtime_ns == time for name, time in there.items())


measure = baselines.measure


def test_a_sibling_s_results_are_taken_over(made: task.Task) -> None:
    run(made)
    _, events = run(made, seed=1)
    assert passes(events) == 0


def test_a_shared_storage_finds_the_folder_of_each_run(made: task.Task, tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'shared.db'}"
    delivered = run(made, storage=storage)[0].files["model"].read_bytes()
    with open_study(storage) as store:
        assert export_trial(store, 0, tmp_path / "a.onnx").read_bytes() == delivered
    result, events = run(made, storage=storage, out=tmp_path / "other", seed=1)
    assert passes(events) == 0
    assert quantize_recipe(made.model, result.files["recipe"], tmp_path / "b.onnx")[0].read_bytes() == delivered


def test_a_measured_bias_is_found_again_by_a_resumed_run_and_missed_by_an_edited_recipe(
    made: task.Task, tmp_path: Path
) -> None:
    fix = {BIAS: "empirical"}
    result, events = run(made, fix=fix)
    delivered = result.files["model"].read_bytes()
    before = [path.name for path in kept(made)]
    assert passes(events) == 1
    (made.out / "model.onnx").unlink()
    result, events = run(made, fix=fix)
    assert passes(events) == 0
    assert result.files["model"].read_bytes() == delivered
    (made.out / "model.onnx").unlink()
    for path in kept(made):
        path.unlink()
    result, events = run(made, fix=fix)
    assert passes(events) == 1
    assert {path.name for path in kept(made)} <= set(before)
    assert kept(made)
    assert result.files["model"].read_bytes() == delivered
    data = json.loads(result.files["recipe"].read_text())
    data["parameters"]["layer/stem"] = "fp32"  # all that follows it needs other biases then
    edited = made.out / "edited.json"
    edited.write_text(json.dumps(data))
    with pytest.raises(OptionError, match=r"bias correction of .* was never computed") as caught:
        quantize_recipe(made.model, edited, tmp_path / "a.onnx")
    assert "correction/bias to off" in str(caught.value)


def test_fresh_drops_them(made: task.Task) -> None:
    run(made)
    run(made, fix={ROUNDING: "nearest", BIAS: "off"}, fresh=True)
    assert kept(made) == []


def test_a_recipe_edited_to_want_more_says_what_to_do(made: task.Task, tmp_path: Path) -> None:
    result, _ = run(made, fix={"layer/stem": "fp32", ROUNDING: "gptq", BIAS: "off"})
    data = json.loads(result.files["recipe"].read_text())
    data["parameters"]["layer/stem"] = "int8"
    edited = made.out / "edited.json"
    edited.write_text(json.dumps(data))
    with pytest.raises(OptionError, match="rounding correction of 'stem' was never computed") as caught:
        quantize_recipe(made.model, edited, tmp_path / "a.onnx")
    assert "correction/rounding to nearest" in str(caught.value)
    data["corrections"] = ["odd"]
    edited.write_text(json.dumps(data))
    with pytest.raises(OptionError, match="must be an object of names"):
        quantize_recipe(made.model, edited, tmp_path / "a.onnx")


def test_a_study_s_results_serve_an_edited_recipe(made: task.Task, tmp_path: Path) -> None:
    result, _ = run(made)
    data = json.loads(result.files["recipe"].read_text())
    del data["corrections"]
    edited = tmp_path / "edited.json"
    edited.write_text(json.dumps(data))
    with open_study(str(made.out)) as store:
        path, _ = quantize_recipe(made.model, edited, tmp_path / "a.onnx", store=store)
    assert path.read_bytes() == result.files["model"].read_bytes()


@pytest.mark.parametrize("strategy", ["auto", "random"])
def test_searched_without_being_asked_for(made: task.Task, strategy: str, tmp_path: Path) -> None:
    options = {"objective": "ops", "threads": 1, "max_trials": 6, "strategy": strategy, "out": made.out}
    result = tune(Request(made.model, str(made.evaluate), TargetDrop.parse("0.001%"), **options))
    with open_study(str(made.out)) as store:
        tried = {record.recipe[ROUNDING] for record in store.trials()}
        assert tried == {"nearest", "gptq"} or strategy == "auto"
        for record in store.trials():
            export_trial(store, record.number, tmp_path / f"{record.number}.onnx")
        assert store.get(CORRECTION + "none") is None
    assert result.tuned is not None
