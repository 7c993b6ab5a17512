import csv
import io
from typing import Any

import pytest
from autoquant.tuner.report import claims

from tests.tuner.report.made import TARGET, point


def latency(speedup: float, low: float, high: float, alone: tuple[float, float, float] | None = None) -> dict[str, Any]:
    rewrites = {"speedup": alone[0], "speedup_ci": list(alone[1:])} if alone else None
    return {"speedup": speedup, "speedup_ci": [low, high], "rewrites_only": rewrites}


def test_what_rewriting_brought_and_what_int8_is_told_apart() -> None:
    both = claims.credit(latency(2.1, 2.0, 2.2, (1.6, 1.55, 1.65)))
    assert both == "2.10×: 1.60× from rewriting the float graph, 1.31× from int8"
    assert claims.credit(latency(1.6, 1.5, 1.7, (1.6, 1.5, 1.7))) == "all of it from rewriting the float graph"
    assert claims.credit(latency(1.6, 1.5, 1.7, (1.01, 0.99, 1.03))).startswith("from int8; ")
    slow = claims.credit(latency(0.9, 0.8, 1.1, (1.3, 1.2, 1.4)))
    assert slow == "rewriting the float graph alone: 1.30× (1.20× to 1.40×)"
    assert claims.credit(latency(1.6, 1.5, 1.7)) == claims.credit(None) == ""


def test_a_faster_file_is_worth_taking_whatever_its_status() -> None:
    assert claims.headline("no_gain", latency(0.8, 0.79, 0.81)) == "nothing gained: keep the float model"
    assert claims.headline("no_gain", None) == "nothing gained: keep the float model"
    assert claims.headline("no_gain", latency(1.6, 1.5, 1.7)).endswith("the model written is faster: take it")
    assert claims.headline("met", latency(1.6, 1.5, 1.7)) == "target met"


def of(*hows: str) -> dict[str, Any]:
    layers = [
        {"layer": f"n{i}", "how": how, "drop": 0.0132, "cost": 0.5, "trial": i, "refuted": how != "open"}
        for i, how in enumerate(hows)
    ]
    return {"of": len(hows), "refuted": sum(how != "open" for how in hows), "status": "", "layers": layers}


def test_the_certificate_in_words() -> None:
    assert claims.certified(None) == claims.certified(of()) == ""
    assert claims.certified(of("scored")) == "complete: the one float layer was tried in int8 and refuted"
    assert (
        claims.certified(of("scored", "raced")) == "complete: each of the 2 float layers was tried in int8 and refuted"
    )
    assert claims.certified(of("scored", "open")) == "1 of 2 float layers tried in int8 and refuted, the others open"


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("scored", "loses 1.32%"),
        ("raced", "loses more than 1.32%, stopped early"),
        ("slower", "not faster (cost 0.500)"),
        ("failed", "does not run"),
        ("open", "holds at 1.32%, not chosen"),
    ],
)
def test_each_refutation_in_words(how: str, words: str) -> None:
    (layer,) = of(how)["layers"]
    assert claims.refutation(layer, relative=True) == words
    if how in ("slower", "open"):
        bare = claims.refutation({**layer, "drop": None, "cost": None}, relative=True)
        assert bare == ("not faster" if how == "slower" else "not tried")


def test_the_front_in_words_and_as_csv() -> None:
    points = [point(4, 0.0001, 0.9), point(2, 0.0321, 0.4)]
    assert claims.front(points, TARGET) == "2 points, drop 0.01% to 3.21%, 1.11× to 2.50× as fast"
    computed = [{**one, "speedup": None, "speedup_ci": None} for one in points]
    assert claims.front(computed, TARGET) == "2 points, drop 0.01% to 3.21%, cost 0.900 to 0.400"
    assert claims.front([], TARGET) == ""
    rows = list(csv.DictReader(io.StringIO(claims.front_csv(points))))
    assert [row["trial"] for row in rows] == ["4", "2"]
    assert float(rows[1]["drop"]) == 0.0321
    assert float(rows[1]["speedup_low"]) < float(rows[1]["speedup"]) < float(rows[1]["speedup_high"])
    assert csv.DictReader(io.StringIO(claims.front_csv(computed))).__next__()["speedup_low"] == ""


@pytest.mark.parametrize(
    ("calibration", "words"),
    [
        (None, ""),
        (
            {"samples": 200, "of": None, "select": "random", "source": "calibration()", "data_free": False}
            | {"overlap": 37, "coverage": {"outside": 2, "tensors": 167}},
            "200 samples of calibration(); 37 of 200 calibration samples are evaluation inputs; "
            "2 of 167 tensors leave their calibrated range in evaluation",
        ),
        (
            {"samples": 32, "of": 1200, "select": "diverse", "source": "the evaluation's own feeds", "data_free": False}
            | {"overlap": 32, "coverage": None},
            "32 samples of the evaluation's own feeds (diverse out of 1,200); "
            "32 of 32 calibration samples are evaluation inputs",
        ),
        (
            {"samples": 64, "of": None, "select": "random", "source": "made up (data-free)", "data_free": True}
            | {"overlap": None, "coverage": None},
            "64 samples made up (data-free)",
        ),
    ],
)
def test_what_was_calibrated_on(calibration: dict[str, Any] | None, words: str) -> None:
    assert claims.calibrated(calibration) == words
