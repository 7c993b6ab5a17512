from pathlib import Path
from typing import Any

import pytest
from autoquant.tuner.report.summary import summary
from autoquant.tuner.study.result import Tuned
from rich.console import Console

from tests.tuner.report.made import point, result


def text(width: int = 140, **other: Any) -> str:
    console = Console(width=width, highlight=False, color_system=None)
    with console.capture() as captured:
        console.print(summary(result(**other)))
    return captured.get()


def test_says_what_was_reached_and_where() -> None:
    shown = text()
    for words in (
        "✓ target met",
        "trial 5 loses 0.66% of 1%.",
        "0.7148",
        "0.7101",
        "drop 0.66% of 1% allowed (95% interval on unseen data: 0.10% to 1.20%)",
        "12.4 ms",
        "7.20 ms",
        "1.72× as fast (95%: 1.68× to 1.76×) on cpu, 2 threads",
        "3.8× smaller",
        "9 int8",
        "3 fp32",
        "6 trials: 4 complete, 1 stopped early, 1 failed; 5.2 full evaluations",
        "! Ranges come from 200",
        "m.autoquant/model.onnx",
        "autoquant trials m.autoquant",
        "autoquant dashboard m.autoquant",
        "run the same command again",
    ):
        assert words in shown


@pytest.mark.parametrize(
    ("status", "words"), [("not_met", "✗ target not met"), ("no_gain", "nothing gained: keep the float model")]
)
def test_says_so_when_it_is_no_success(status: str, words: str) -> None:
    assert words in text(status=status, latency=None)


def test_the_claims_beside_the_verdict_are_one_line_each() -> None:
    latency = {**result().latency, "rewrites_only": {"speedup": 1.3, "speedup_ci": [1.28, 1.33]}}  # type: ignore[dict-item]
    shown = text(
        latency=latency,
        certificate={"status": "11 of 14", "refuted": 11, "of": 14, "layers": []},
        front=(point(4, 0.0001, 0.9), point(2, 0.0321, 0.4)),
        evidence=({**point(3, 0.02, 1.2), "holds": False},),
        files={"front": Path("m.autoquant/front.csv")},
    )
    for words in (
        "1.72×: 1.30× from rewriting the float graph, 1.33× from int8",
        "11 of 14 float layers tried in int8 and refuted, the others open",
        "2 points, drop 0.01% to 3.21%, 1.11× to 2.50× as fast",
        "trial 3: cost 1.200, drop 2.00% (too much), 9 layers int8",
        "front.csv",
        "autoquant trials m.autoquant --front",
    ):
        assert words in shown


def test_no_speed_is_claimed_inside_the_noise() -> None:
    latency = {"baseline_ms": 10.0, "tuned_ms": 9.9, "speedup": 1.01, "speedup_ci": [0.97, 1.04], "device": "cpu"}
    assert "1.01×: no difference beyond noise (95%: 0.97× to 1.04×) on cpu" in text(latency=latency)


def test_slower_is_called_slower() -> None:
    latency = {"baseline_ms": 8.0, "tuned_ms": 10.0, "speedup": 0.8, "speedup_ci": [0.78, 0.82], "device": "cpu"}
    assert "0.80× as fast: slower" in text(latency=latency)


def test_nothing_found_leaves_dashes() -> None:
    shown = text(
        status="not_met", tuned=None, latency=None, size={"baseline_bytes": 18_600_000, "tuned_bytes": 0}, files={}
    )
    assert "×" not in shown
    assert "1% allowed" in shown
    assert " 0 B" not in shown
    assert "autoquant trials m.autoquant\n" in "\n".join(line.rstrip() for line in shown.splitlines()) + "\n"


def test_better_than_float_is_no_negative_drop() -> None:
    assert "0.12% better than float" in text(tuned=Tuned(5, 0.7157, -0.0012, None))


def test_a_shared_storage_is_named_with_the_study() -> None:
    study = {"storage": "postgresql://host/db", "name": "m 1% ops auto"}
    assert "autoquant trials postgresql://host/db --study-name 'm 1% ops auto'" in text(study=study)


def test_a_folder_with_blanks_can_be_pasted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "autoquant trials 'my model.autoquant'" in text(folder=tmp_path / "my model.autoquant")


@pytest.mark.parametrize("width", [40, 80])
def test_a_narrow_terminal_loses_no_figure(width: int) -> None:
    shown = text(width)
    assert "0.7101" in shown
    assert "7.20 ms" in shown
    assert all(len(line) <= width for line in shown.splitlines())


HELD = {
    "fraction": 0.2,
    "samples": 200,
    "baseline": 0.71,
    "metric": 0.706,
    "drop": 0.0056,
    "drop_ci": [-0.004, 0.015],
    "holds": True,
    "looks": 1,
}


def test_what_was_held_out_has_a_line_of_its_own() -> None:
    shown = text(holdout=HELD)
    assert "drop 0.56% on 200 samples the search never saw (95%: -0.40% to 1.50%)" in shown
    assert "0.7060" in shown
    assert "held out" not in text()
    assert "1.20% on 200 samples the search never saw (95%: -0.40% to 1.50%): does not hold" in text(
        holdout={**HELD, "drop": 0.012, "holds": False}
    )
    assert "0.30% better than float on 200 samples" in text(holdout={**HELD, "drop": -0.003})


def test_a_diagnosis_is_listed() -> None:
    diagnosis = {"findings": ["because of this", "and of that"], "advice": ["do so"], "checks": {}, "evaluations": 0}
    lines = [line.split() for line in text(status="not_met", diagnosis=diagnosis).splitlines()]
    assert ["why", "because", "of", "this"] in lines
    assert ["and", "of", "that"] in lines
    assert ["next", "do", "so"] in lines
