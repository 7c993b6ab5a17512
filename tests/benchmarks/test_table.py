import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import table

PEERS: dict[str, Any] = json.loads(Path(table.__file__).with_name("peers.json").read_text())


def tuned(task: str, objective: str, metric: float, speedup: float, status: str = "met") -> dict[str, Any]:
    return {
        "task": task,
        "objective": objective,
        "tune": {"seconds": 61.4, "result": {"status": status, "trials": {"evaluations": 3.5}}},
        "measured": {
            "baseline": 0.9,
            "metric": metric,
            "relative_drop": (0.9 - metric) / 0.9,
            "kernels": {"int8": 48, "float": 3},
            "latency": {"speedup": speedup, "speedup_ci": [1.4, 1.6]},
        },
    }


def test_a_row_says_whether_the_target_holds() -> None:
    assert table.our_row(tuned("ocr_v4", "ops", 0.895, 1.5))[1:] == [
        "yes",
        "0.8950",
        "61",
        "3.5",
        "48/51",
        "1.50× (1.40–1.60)",
    ]
    assert table.our_row(tuned("ocr_v4", "ops", 0.88, 1.5))[1] == "**no**"


def test_only_measured_tasks_enter_the_readme() -> None:
    assert table.brief({}, PEERS).startswith("Not measured")
    text = table.brief({"tune_ocr_v4_latency": tuned("ocr_v4", "latency", 0.895, 1.5)}, PEERS)
    assert "| ocr_v4 | 0.9000 | 0.8950 |" in text
    assert "1.02× (Neural Compressor 2.6)" in text
    assert "cls180" not in text


def test_no_gain_is_not_shown_as_a_success() -> None:
    slow = tuned("cls180", "latency", 0.895, 0.8, status="no_gain")
    assert table.our_row(slow)[0] == "**autoquant**, objective latency, says `no_gain`"
    assert "0.80× (1.40–1.60), says `no_gain`" in table.brief({"tune_cls180_latency": slow}, PEERS)


def test_the_report_lists_ours_before_the_peers() -> None:
    rows = list(table.tuned_rows({"tune_cls180_ops": tuned("cls180", "ops", 0.9, 1.1)}, PEERS))
    assert rows[0][:2] == ["cls180 (0.9000)", "**autoquant**, objective ops"]
    assert rows[1][:2] == ["", "ONNX Runtime, one shot"]
    assert all(len(row) == len(table.HEAD) for row in rows)


def test_fill_replaces_only_what_stands_between_the_marks(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    assert table.fill(readme, "new\n")
    assert readme.read_text() == f"before\n{table.BEGIN}\nnew\n{table.END}\nafter\n"
    readme.write_text("no marks")
    assert not table.fill(readme, "new\n")


def test_the_readme_has_the_marks() -> None:
    text = (Path(table.__file__).parents[1] / "README.md").read_text()
    assert text.count(table.BEGIN) == text.count(table.END) == 1


@pytest.mark.parametrize("task", table.TASKS)
def test_every_task_has_peers_with_complete_rows(task: str) -> None:
    assert all(len(row) == len(PEERS["columns"]) for row in PEERS["rows"][task])


def test_racing_says_when_a_verdict_differs() -> None:
    found = {
        "holding": 4,
        "failing": 8,
        "same_verdicts": False,
        "part": 0.5312,
        "part_of_failing": 0.29,
        "replays": {order: {"all": 0.5, "failing": 0.3, "wrong": 1} for order in ("learnt", "gainful", "uniform")},
        "seconds": {"on": 20.4, "off": 41.0},
    }
    whole = {**found, "failing": 0, "same_verdicts": True, "replays": {"uniform": {"all": 1.0, "wrong": 0}}}
    del whole["part_of_failing"]
    text = table.racing({"tasks": {"ocr_v4": found, "effnet_lite0": whole}})
    assert "| ocr_v4 | 4 / 8 | **differ** | 53 % | 29 % | 30 % / 30 % / 30 % | 3 | 41 / 20 |" in text
    assert "| effnet_lite0 | 4 / 0 | the same | 53 % | – | – | 0 | 41 / 20 |" in text


def test_corrections_are_shown_with_their_spread() -> None:
    def measured(drops: list[float]) -> list[dict[str, float]]:
        return [{"drop": drop, "distance": 0.5, "weights": 0.25} for drop in drops]

    figures = {
        "task": "cls180",
        "granularity": "per_tensor",
        "calibrator": "mse",
        "samples": 400,
        "combinations": {
            "none": measured([0.01, 0.03]),
            "gptq+bias": measured([0.01, 0.01]),
            "equalized+smooth auto": measured([0.01, 0.01]),
            "bias+equalized+smooth auto": measured([0.01, 0.01]),
        },
        "seconds": {
            **{"evaluation": 30.0, "gptq": 6.0, "bias": 0.5, "mse": 0.1},
            **{"equalized": 2.0, "smooth auto": 2.0, "equalized+smooth auto": 2.5},
        },
    }
    text = table.corrections({"corrections_cls180_per_tensor": figures})
    assert "| cls180, per_tensor, mse, 400 samples | none | 2.00 ± 1.41 | 0.5000 ± 0.0000 |" in text
    figures_of_all = "1.00 ± 0.00 | 0.5000 ± 0.0000 | 0.25000 ± 0.00000"
    assert f"|  | gptq+bias | {figures_of_all} | 6.5 |" in text
    assert f"|  | equalized+smooth auto | {figures_of_all} | 2.5 |" in text
    assert f"|  | bias+equalized+smooth auto | {figures_of_all} | 3.0 |" in text


def test_probes_are_shown_with_their_first_choice() -> None:
    recipes = [{"drop": 0.01}, {"drop": -0.005}]
    probes = {
        "distance 16": {"correlation": 0.5, "drop_of_least": 0.01},
        "sqnr 32": {"correlation": 0.9, "drop_of_least": 0},
    }
    text = table.closeness({"tasks": {"ocr_v4": {"samples": 300, "recipes": recipes, "probes": probes}}})
    assert "| task | scored | drops, points | distance 16 samples | sqnr 32 samples |" in text
    assert "| ocr_v4 | 300 | -0.5 to 1.0 | 0.50, 1.0 | 0.90, 0.0 |" in text
