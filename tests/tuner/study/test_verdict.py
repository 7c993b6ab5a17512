from typing import Any, cast

import pytest
from autoquant.evaluators.base import Latency
from autoquant.tuner.study.confirm import Confirmed
from autoquant.tuner.study.request import TargetDrop
from autoquant.tuner.study.verdict import judge, warnings

TARGET = TargetDrop(0.01, relative=True)


class Found:
    """As much of a confirmed trial as a verdict reads."""

    def __init__(self, speedup: float | None, drop: float = 0.004, passed: Any = None) -> None:
        self.drop, self.passed, self.holds = drop, passed, drop <= TARGET.value
        self.latency = None
        if speedup is not None:
            self.latency = Latency(1.0, 1.0 / speedup, speedup, (0.98 * speedup, 1.02 * speedup), 21)
        self.slowdown, self.noise, self.layers, self.candidate = 1.0, 0.0, {}, self
        self.notes = ()


def said(found: Found, int8: int = 10, objective: str = "latency") -> tuple[str, str]:
    return judge(cast(Confirmed, found), TARGET, objective, {"int8": int8, "total": 12}, "the budget ended")


@pytest.mark.parametrize(
    ("found", "int8", "status", "words"),
    [
        (Found(1.5), 10, "met", "loses 0.40% where 1% is allowed"),
        (Found(1.5, drop=0.0), 10, "met", "loses nothing"),
        (Found(1.5, drop=0.02), 10, "not_met", "the best effort loses 2.00%"),
        (Found(0.8), 10, "no_gain", "the best runs at 0.80× (0.78 to 0.82); keep the float model"),
        (Found(1.01), 10, "no_gain", "keep the float model"),
        (Found(1.6), 1, "no_gain", "only 1 of 12 layers run on integers in the best that holds the target, but the"),
        (Found(1.6, drop=0.0), 0, "no_gain", "runs at 1.60× (1.57 to 1.63) of the file given, losing nothing: take it"),
        (
            Found(1.6, passed=Found(1.2)),
            0,
            "no_gain",
            "int8 gains nothing: the best that holds the target runs at 1.2",
        ),
        (
            Found(1.0, passed=Found(0.8)),
            0,
            "no_gain",
            "(0.78 to 0.82); keep the float model; that is what was written",
        ),
    ],
)
def test_under_latency(found: Found, int8: int, status: str, words: str) -> None:
    got, why = said(found, int8)
    assert got == status
    assert words in why
    assert "\n" not in why


def test_under_a_computed_cost_the_clock_does_not_decide() -> None:
    assert said(Found(0.8), objective="ops")[0] == "met"
    assert said(Found(None), 1, "size") == (
        "no_gain", "only 1 of 12 layers run on integers in the best that holds the target; keep the float model"
    )  # fmt: skip
    assert warnings(cast(Confirmed, Found(0.8)), "ops", TARGET) == ["runs at 0.8× of the float model here"]
    assert warnings(cast(Confirmed, Found(0.8)), "latency", TARGET) == []


def test_a_float_form_that_is_slower_than_the_file_is_told() -> None:
    assert warnings(cast(Confirmed, Found(0.9, passed=Found(0.8))), "latency", TARGET)
