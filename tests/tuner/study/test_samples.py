"""Which samples a run calibrates on, and what it says of them: whole runs on a small model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from autoquant.errors import CalibrationError, ChangedInputsError, OptionError
from autoquant.strategies.words import BIAS
from autoquant.tuner.graph.load import load
from autoquant.tuner.study.calibrate import CALIBRATION, RANGES
from autoquant.tuner.study.calibrationoptions import CalibrationOptions, input_range
from autoquant.tuner.study.events import Event, Noted
from autoquant.tuner.study.export import export_trial, quantize_recipe
from autoquant.tuner.study.inputs import prepare
from autoquant.tuner.study.recover import open_study
from autoquant.tuner.study.request import Request, TargetDrop
from autoquant.tuner.study.result import Result
from autoquant.tuner.study.samples import Chosen, Samples
from autoquant.tuner.study.tune import tune

from tests import task, zoo

OWN = """

def calibration():
    for i in range(0, 48, 6):
        yield {"x": %s}
"""


def request(of: task.Task, *, calibration: CalibrationOptions | None = None, **options: Any) -> Request:
    usual = {"objective": "ops", "threads": 1, "max_trials": 1, "strategy": "random", **options}
    return Request(
        of.model,
        str(of.evaluate),
        TargetDrop.parse("50%"),
        out=of.out,
        calibration=calibration or CalibrationOptions(),
        **usual,
    )


def run(of: task.Task, calibration: CalibrationOptions | None = None, **options: Any) -> tuple[Result, list[str]]:
    events: list[Event] = []
    result = tune(request(of, calibration=calibration, **options), events.append)
    return result, [event.text for event in events if isinstance(event, Noted) and event.warning]


def written(folder: Path, own: str = 'data["x"][i : i + 6]', **options: Any) -> task.Task:
    made = task.write(folder, calibration=False, **options)
    made.evaluate.write_text(made.evaluate.read_text() + OWN % own)
    return made


def rows(of: task.Task, options: CalibrationOptions, chosen: Chosen | None = None) -> np.ndarray:
    source = Samples(prepare(request(of, calibration=options)), chosen)
    first = np.concatenate([feed["x"] for feed in source.feeds(lambda: ())])
    again = np.concatenate([feed["x"] for feed in source.feeds(lambda: ())])
    np.testing.assert_array_equal(first, again)
    return first


@pytest.mark.parametrize("select", ["first", "random", "diverse", "balanced"])
def test_every_pass_sees_the_same_samples(tmp_path: Path, select: str) -> None:
    made = written(tmp_path)
    whole = np.load(made.folder / "data.npz")["x"][:48]
    found = rows(made, CalibrationOptions(13, select))
    assert len(found) == 13
    places = [int(np.flatnonzero((whole == one).all(axis=(1, 2, 3)))[0]) for one in found]
    assert places == sorted(set(places))
    assert (places == list(range(13))) == (select == "first")
    source = Samples(prepare(request(made, calibration=CalibrationOptions(13, select))))
    list(source.feeds(lambda: ()))
    assert source.chosen is not None
    assert source.chosen.places == tuple(places)
    again = Chosen.from_json(json.loads(json.dumps(source.chosen.to_json())))
    np.testing.assert_array_equal(rows(made, CalibrationOptions(13, select), again), found)


def test_more_than_there_are_is_all(tmp_path: Path) -> None:
    assert len(rows(written(tmp_path), CalibrationOptions(500, "diverse"))) == 48


def test_what_was_used_is_told_and_another_number_is_refused(tmp_path: Path) -> None:
    made = written(tmp_path)
    result, warned = run(made, CalibrationOptions(20, "diverse"), fix={BIAS: "on"})
    found = result.calibration
    assert found is not None
    assert (found["samples"], found["of"], found["overlap"], found["evaluation_samples"]) == (20, 48, 20, 96)
    assert found["source"] == "calibration()"
    assert found["selection"] == "20 diverse, seed 0"
    assert found["coverage"]["tensors"] > 5
    assert not found["coverage"]["unlike"]
    assert found["warnings"] == []
    assert not warned
    assert Result.from_json(json.loads(json.dumps(result.to_json()))).calibration == found
    with open_study(made.out) as store:
        assert store.get(RANGES)["samples"] == 20
        assert len(store.get(CALIBRATION)["chosen"]["places"]) == 20
        export_trial(store, 0, made.folder / "again.onnx")
    quantize_recipe(made.model, made.out / "recipe.json", made.folder / "replayed.onnx")
    assert (made.folder / "replayed.onnx").read_bytes() == (made.out / "model.onnx").read_bytes()
    resumed, _ = run(made, CalibrationOptions(20, "diverse"), fix={BIAS: "on"}, max_trials=2)
    assert resumed.calibration == found
    for other in (
        CalibrationOptions(21, "diverse"),
        CalibrationOptions(20),
        CalibrationOptions(),
        CalibrationOptions(data_free=True),
    ):
        with pytest.raises(ChangedInputsError, match=r"--calibration-samples.* has changed"):
            run(made, other, fix={BIAS: "on"})
    afresh, _ = run(made, CalibrationOptions(), fresh=True)
    assert afresh.calibration is not None
    assert afresh.calibration["samples"] == 48
    assert afresh.calibration["selection"] is None


def test_the_evaluation_s_own_samples_can_be_chosen_from_too(tmp_path: Path) -> None:
    made = task.write(tmp_path, calibration=False)
    result, warned = run(made, CalibrationOptions(10, "balanced"))
    found = result.calibration
    assert found is not None
    assert (found["samples"], found["of"], found["overlap"]) == (10, 40, 10)
    assert found["coverage"] is None
    assert "calibrating on samples of the evaluation itself" in warned[0]
    with pytest.raises(ChangedInputsError):
        run(made, CalibrationOptions(11, "balanced"))


def test_balanced_is_for_classifiers(tmp_path: Path) -> None:
    g = zoo.Sketch(0)
    g.conv("x", "y", 3, 4)
    made = written(tmp_path)
    zoo.save(g.model([zoo.value("x", ["N", 3, 16, 16])], [zoo.value("y", ["N", 4, 16, 16])]), made.model)
    source = Samples(prepare(request(made, calibration=CalibrationOptions(4, "balanced"))))
    with pytest.raises(CalibrationError, match="balanced needs a classifier"):
        source.feeds(lambda: ())


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ('255 * data["x"][i : i + 6]', "feeds other data than calibration saw"),
        ('data["x"][i : i + 6] / 4 + 2', "feeds other data than calibration saw"),
        ('data["x"][[0, 1, 2]]', "only 3 different calibration samples"),
        ('data["x"][[i, i + 1, *range(48, 52)]]', "repeat others"),
        ('np.concatenate([data["x"][i : i + 4], np.ones((2, 3, 16, 16), np.float32)])', "a single value throughout"),
    ],
)
def test_samples_that_are_amiss_are_named(tmp_path: Path, own: str, words: str) -> None:
    result, warned = run(written(tmp_path, f"({own}).astype(np.float32)"))
    assert any(words in warning for warning in warned), warned
    assert any(words in warning for warning in result.warnings)


def test_without_data_none_is_looked_at(tmp_path: Path) -> None:
    made = written(tmp_path)
    made.evaluate.write_text(made.evaluate.read_text() + "\n\ndef latency_inputs():\n    return {'x': data['x'][:1]}\n")
    made.evaluate.write_text(
        made.evaluate.read_text().replace("    for i in", "    raise OSError('looked')\n    for i in")
    )
    result, warned = run(made, CalibrationOptions(24, data_free=True), max_trials=2, strategy="auto")
    found = result.calibration
    assert found is not None
    assert (found["samples"], found["overlap"], found["data_free"]) == (24, None, True)
    assert found["source"] == "made up (data-free, statistics of 1 BatchNormalization)"
    assert any("calibrated without data" in warning for warning in warned)
    assert json.loads((made.out / "recipe.json").read_text())["data_free"] == found["source"]
    quantize_recipe(made.model, made.out / "recipe.json", made.folder / "replayed.onnx")
    assert (made.folder / "replayed.onnx").read_bytes() == (made.out / "model.onnx").read_bytes()
    assert "data" not in {entry.key for entry in load(made.out / "model.onnx").proto.metadata_props}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (CalibrationOptions(0), "--calibration-samples must be at least 1"),
        (CalibrationOptions(select="best"), "--calibration-select must be one of first, random, diverse, balanced"),
        (CalibrationOptions(4, "random", data_free=True), "there are none for --calibration-select"),
        (CalibrationOptions(input_range=(0.0, 1.0)), "goes with --data-free"),
        (CalibrationOptions(data_free=True, input_range=(1.0, 1.0)), "LOW below HIGH"),
    ],
)
def test_impossible_wishes_are_refused(options: CalibrationOptions, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        options.check()
    with pytest.raises(OptionError, match="LOW,HIGH"):
        input_range("3")
    assert input_range("-1, 1") == (-1.0, 1.0)


def test_the_usual_wishes_leave_the_fingerprint_as_it_was() -> None:
    assert CalibrationOptions().words(0) == ""
    distinct = [
        CalibrationOptions(200),
        CalibrationOptions(200, "first"),
        CalibrationOptions(data_free=True),
        CalibrationOptions(data_free=True, input_range=(0.0, 1.0)),
    ]
    assert len({options.words(seed) for options in distinct for seed in (0, 1)}) == 8
