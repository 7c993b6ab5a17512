import re
from html.parser import HTMLParser
from typing import Any

from autoquant.tuner.report.html import render

from tests.tuner.report.made import LAYERS, TARGET, point, result, trial, trials

VOID = {"meta", "br"}


class Balance(HTMLParser):
    """Fails where a tag is closed that was not opened last."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open, tag
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def page(**other: Any) -> str:
    values: dict[str, Any] = {
        "target": TARGET,
        "objective": "latency",
        "result": result().to_json(),
        "layers": LAYERS,
        "command": "autoquant tune --model m.onnx --eval e.py",
        **other,
    }
    return render("m & co <1%>", values.pop("trials", trials()), **values)


def read(text: str) -> str:
    parser = Balance()
    parser.feed(text)
    assert parser.open == []
    return " ".join(" ".join(parser.words).split())


def test_tells_the_whole_story() -> None:
    words = read(page())
    for part in (
        "target met",
        "m & co <1%>",
        "0.7148 → 0.7101",
        "drop 0.66%, 1% allowed; on unseen data 0.10% to 1.20% (95%)",
        "1.72× as fast (1.68× to 1.76×)",
        "cpu, 2 threads, x 1×3×224×224",
        "3.8× smaller",
        "9 of 12",
        "Ranges come from 200 of the evaluation's own samples & <more>.",
        "cannot <load> it",
        "autoquant tune --model m.onnx --eval e.py",
        "All 6 trials",
        "1 stopped early, not drawn; 1 failed",
    ):
        assert part in words, part


def test_asks_nothing_of_the_network_and_runs_nothing() -> None:
    text = page()
    assert not re.search(r"(src|href)\s*=|https?:|@import|url\(|<script", text)
    assert "prefers-color-scheme: dark" in text


def test_the_strip_shows_the_delivered_recipe_in_graph_order() -> None:
    text = page()
    cells = re.findall(r'<rect class="p-(\w+)"[^>]*><title>([^<]*): \w+</title>', text)
    assert [name for _, name in cells] == list(LAYERS)
    assert [kind for kind, _ in cells] == ["fp32"] * 3 + ["int8"] * 9


def test_every_costed_trial_is_drawn_with_its_kind() -> None:
    picture = page().split("What was tried")[1].split("</svg>")[0]
    assert len(re.findall(r'<g class="fails">', picture)) == 2
    assert len(re.findall(r'<g class="holds">', picture)) == 1
    assert len(re.findall(r'<g class="best">', picture)) == 1


def test_the_claims_beside_the_verdict_have_their_place() -> None:
    data = result().to_json()
    data["latency"]["rewrites_only"] = {"speedup": 1.3, "speedup_ci": [1.28, 1.33]}
    layer = {"layer": LAYERS[0], "how": "scored", "drop": 0.02, "cost": 0.5, "trial": 1, "refuted": True}
    data["certificate"] = {"status": "complete", "refuted": 1, "of": 1, "layers": [layer]}
    data["front"] = [point(2, 0.004, 0.7), point(5, 0.0066, 0.58)]
    text = page(result=data)
    words = read(text)
    assert "1.72×: 1.30× from rewriting the float graph, 1.33× from int8" in words
    assert "Why these layers stay float" in words
    assert "5 ★ 0.66%" in words
    assert "The line joins the 2 trials on the front" in words
    assert text.count('class="front-line"') == 1


def test_the_front_is_drawn_for_any_study() -> None:
    text = page(trials=[*trials(), trial(6, 0.0001, 0.9), trial(7, 0.002, 0.95)])
    (line,) = re.findall(r'class="front-line" points="([^"]*)"', text)
    assert len(line.split()) == 5, "trials 6, 2, 5, 0 and 1; 7 is dominated"


def test_a_faster_file_is_recommended_though_nothing_was_gained_from_int8() -> None:
    assert "yet the model written is faster: take it" in read(page(result=result(status="no_gain").to_json()))


def test_without_a_result_it_shows_the_study_so_far() -> None:
    words = read(page(result=None))
    assert "no result yet" in words
    assert "drop allowed: 1%" in words
    assert "The recipe of trial 5" in words


def test_without_trials_it_is_still_a_page() -> None:
    nothing = result(
        status="not_met", tuned=None, latency=None, size={"baseline_bytes": 1, "tuned_bytes": 0}, layers={}
    )
    words = read(page(trials=[], result=nothing.to_json()))
    assert "target not met" in words
    assert "What was tried" not in words


def test_one_trial_alone_can_be_drawn() -> None:
    assert "What was tried" in read(page(trials=trials()[5:]))


def test_a_better_than_float_drop_and_a_negative_interval_can_be_drawn() -> None:
    data = result().to_json()
    data["tuned"] |= {"drop": -0.0012, "drop_ci": [-0.004, 0.002]}
    assert "0.12% better than float" in read(page(result=data))


def test_what_was_held_out_has_a_tile() -> None:
    held = {"fraction": 0.2, "samples": 200, "baseline": 0.71, "metric": 0.7, "drop": 0.014, "drop_ci": [0.0, 0.03]}
    words = read(page(result=result(holdout={**held, "holds": False, "looks": 1}).to_json()))
    assert "held-out samples" in words
    assert "drop 1.40% on 200 samples the search never saw (95%: 0.00% to 3.00%): does not hold" in words


def test_a_diagnosis_has_a_card() -> None:
    diagnosis = {"findings": ["a <layer> is to blame"], "advice": ["keep it"], "checks": {}, "evaluations": 2}
    words = read(page(result=result(status="not_met", diagnosis=diagnosis).to_json()))
    assert "What keeps it from the target" in words
    assert "a <layer> is to blame" in words
    assert "What to do next" in words
