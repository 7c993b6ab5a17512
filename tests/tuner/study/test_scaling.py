"""Equalization and smoothing in whole runs: computed once, and all that export and replay need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from autoquant.errors import OptionError, StudyError
from autoquant.strategies.words import EQUALIZATION, ROUNDING, SMOOTH, WEIGHT_GRANULARITY
from autoquant.tuner.report.records import export
from autoquant.tuner.study.events import Event, Noted
from autoquant.tuner.study.export import export_trial, quantize_recipe
from autoquant.tuner.study.recover import open_study
from autoquant.tuner.study.request import Request, TargetDrop
from autoquant.tuner.study.result import Result
from autoquant.tuner.study.tune import tune

from tests import task, zoo

BOTH = {EQUALIZATION: "on", SMOOTH: "auto", WEIGHT_GRANULARITY: "per_tensor"}


def run(of: task.Task, **options: Any) -> tuple[Result, list[Event]]:
    events: list[Event] = []
    options = {"objective": "ops", "threads": 1, "max_trials": 1, "fix": BOTH, "out": of.out} | options
    return tune(Request(of.model, str(of.evaluate), TargetDrop.parse("20%"), **options), events.append), events


def passes(events: list[Event]) -> int:
    return sum(isinstance(event, Noted) and event.text.startswith("a pass over the calibration") for event in events)


@pytest.mark.parametrize(
    ("net", "fix"),
    [(zoo.conv_net, BOTH), (zoo.hardswish_net, {**BOTH, ROUNDING: "gptq"})],
    ids=["alone", "gptq"],
)
def test_delivered_exported_and_replayed_are_one(net, fix, tmp_path: Path) -> None:
    made = task.write(tmp_path, net())
    result, events = run(made, fix=fix)
    assert passes(events) == 2 + (ROUNDING in fix)  # channels, ranges of what changed
    delivered = result.files["model"].read_bytes()
    assert run(made, fix={}, out=tmp_path / "plain")[0].files["model"].read_bytes() != delivered
    made.evaluate.unlink()  # no data
    (made.folder / "data.npz").unlink()
    with open_study(str(made.out)) as store:
        assert export_trial(store, 0, tmp_path / "a.onnx").read_bytes() == delivered
        assert store.trial(0).attributes["corrections_seconds"] > 0
    path, _ = quantize_recipe(made.model, result.files["recipe"], tmp_path / "b.onnx")
    assert path.read_bytes() == delivered


def test_a_lost_file_is_named_by_its_parameter(tmp_path: Path) -> None:
    made = task.write(tmp_path)
    result, _ = run(made)
    for path in (made.out / "corrections").glob("*.npy"):
        path.unlink()
    with open_study(str(made.out)) as store, pytest.raises(StudyError, match="equalization correction"):
        export_trial(store, 0, tmp_path / "a.onnx")
    with pytest.raises(OptionError, match="equalization correction"):
        quantize_recipe(made.model, result.files["recipe"], tmp_path / "b.onnx")


def test_a_run_goes_on_with_what_it_has(tmp_path: Path) -> None:
    made = task.write(tmp_path)
    delivered = run(made)[0].files["model"].read_bytes()
    before = {path.name for path in (made.out / "corrections").glob("*.npy")}
    assert len(before) == 3  # statistics of channels, scales, ranges
    result, events = run(made, max_trials=2)
    assert passes(events) == 0
    assert {path.name for path in (made.out / "corrections").glob("*.npy")} == before
    with open_study(str(made.out)) as store:
        assert export_trial(store, 0, tmp_path / "a.onnx").read_bytes() == delivered
    assert result.tuned is not None


def test_encodings_leave_out_what_was_scaled(tmp_path: Path) -> None:
    made = task.write(tmp_path)
    run(made)
    run(made, fix={WEIGHT_GRANULARITY: "per_tensor"}, out=tmp_path / "plain")
    counts = []
    for folder in (tmp_path / "plain", made.out):
        with open_study(str(folder)) as store:
            exported = export(store, 0, tmp_path / "a.encodings", "qnn-encodings")
        counts.append(len(exported.path.read_text()))
    assert counts[1] < counts[0]
    assert any("left out" in warning for warning in exported.warnings)
