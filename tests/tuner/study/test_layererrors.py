"""What each correction did for each layer of a delivered model."""

from __future__ import annotations

from pathlib import Path

import pytest
from autoquant.strategies.words import (
    ACTIVATION_SYMMETRY,
    BIAS,
    CALIBRATOR,
    EMPIRICAL,
    ROUNDING,
    UNCORRECTED,
    WEIGHT_RANGE,
)
from autoquant.tuner.study.layererrors import of_study
from autoquant.tuner.study.recover import open_study
from autoquant.tuner.study.request import Request, TargetDrop
from autoquant.tuner.study.result import Result
from autoquant.tuner.study.tune import tune

from tests import task

SAME = {CALIBRATOR: "minmax", ACTIVATION_SYMMETRY: "asymmetric"}
ALL = {ROUNDING: "gptq", BIAS: "on", WEIGHT_RANGE: "mse"}


def run(made: task.Task, fix: dict[str, str], drop: str = "20%", trials: int = 1) -> Result:
    options = {"objective": "ops", "threads": 1, "max_trials": trials, "fix": SAME | fix, "out": made.out}
    return tune(Request(made.model, str(made.evaluate), TargetDrop.parse(drop), **options))


@pytest.fixture
def made(tmp_path: Path) -> task.Task:
    return task.write(tmp_path)


def test_without_corrections_there_is_nothing_to_compare(made: task.Task) -> None:
    result = run(made, {})
    assert result.errors
    assert all(layer["uncorrected"] is None and layer["corrections"] == {} for layer in result.errors)


def test_each_correction_alone_against_none(made: task.Task) -> None:
    plain = {layer["layer"]: layer for layer in run(made, {}).errors}
    ranged = {layer["layer"]: layer for layer in run(made, {WEIGHT_RANGE: "mse"}).errors}
    run(made, {ROUNDING: "gptq"})  # a sibling: its results are at hand
    result = run(made, ALL)
    for layer in result.errors:
        name = layer["layer"]
        assert layer["uncorrected"] == pytest.approx(plain[name]["local"], abs=1e-6)
        assert set(layer["corrections"]) == set(ALL)
        found = layer["corrections"][WEIGHT_RANGE]
        assert found["local"] == pytest.approx(ranged[name]["local"], abs=1e-6)
        assert found["propagated"] == pytest.approx(ranged[name]["propagated"], abs=1e-6)
        assert found["gain"] == pytest.approx(ranged[name]["local"] - plain[name]["local"], abs=1e-6)


def test_nothing_is_computed_for_it(made: task.Task) -> None:
    result = run(made, ALL)
    for layer in result.errors:
        assert set(layer["corrections"]) == {BIAS, WEIGHT_RANGE}  # min-max ranges were never rounded by GPTQ
    with open_study(str(made.out)) as store:
        assert of_study(store)["layers"] == list(result.errors)


def test_measured_biases_count_by_what_arrives(made: task.Task) -> None:
    result = run(made, {BIAS: EMPIRICAL})
    plain = {layer["layer"]: layer for layer in run(made, dict(UNCORRECTED)).errors}
    for layer in result.errors:
        gain = layer["corrections"][BIAS]["gain"]
        assert gain == pytest.approx(layer["propagated"] - plain[layer["layer"]]["propagated"], abs=1e-6)
