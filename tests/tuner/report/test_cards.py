from autoquant.tuner.report import cards

from tests.tuner.report.made import TARGET, point
from tests.tuner.report.test_claims import of
from tests.tuner.report.test_html import read


def test_the_certificate_is_a_row_a_layer() -> None:
    words = read(cards.certificate(of("scored", "raced", "open"), TARGET))
    assert "Why these layers stay float" in words
    assert "2 of 3 float layers tried" in words
    assert "n0 loses 1.32% 0 n1 loses more than 1.32%, stopped early 1" in words


def test_names_from_the_model_are_escaped() -> None:
    made = of("scored")
    made["layers"][0]["layer"] = "a<b>&c"
    assert "a&lt;b&gt;&amp;c" in cards.certificate(made, TARGET)


def test_the_front_says_how_to_have_a_point() -> None:
    words = read(cards.front([point(4, 0.001, 0.9), point(2, 0.032, 0.4)], TARGET, number=4))
    assert "autoquant export STUDY --trial N" in words
    assert "4 ★ 0.10%" in words
    assert "2.50× (2.45× to 2.55×)" in words


def test_evidence_names_what_loses_too_much() -> None:
    words = read(
        cards.evidence([{**point(3, 0.02, 1.2), "holds": False}, {**point(1, 0.0, 1.3), "holds": True}], TARGET)
    )
    assert "2.00%: too much" in words
    assert "0.83×" in words


def test_the_errors_of_layers_the_noisiest_first() -> None:
    quiet = {"layer": "a", "weight": 46.2, "input": 30.0, "local": 35.0, "uncorrected": None, "propagated": 20.0}
    noisy = {**quiet, "layer": "b<", "local": 12.3, "propagated": None, "weight": None}
    words = read(cards.errors([quiet, noisy]))
    assert words.index("b<") < words.index("46.2 dB")
    assert "uncorrected" not in words
    assert "12.3 dB" in words
    assert "uncorrected" in read(cards.errors([{**quiet, "uncorrected": 34.0}]))
    assert cards.errors(()) == ""


def test_what_each_correction_gained_has_a_column() -> None:
    plain = {"layer": "a", "weight": 46.2, "input": 30.0, "local": 35.0, "uncorrected": 31.0, "propagated": 20.0}
    gains = {"correction/bias": {"gain": 3.14}, "weight/range": {"gain": -0.25}}
    words = read(cards.errors([{**plain, "corrections": gains}, {**plain, "corrections": {}}]))
    assert "+bias +range" in words
    assert "+3.1 dB -0.2 dB" in words
    assert "+bias" not in read(cards.errors([plain]))  # of a study from before


def test_nothing_to_show_is_no_card() -> None:
    assert cards.certificate(None, TARGET) == cards.certificate(of(), TARGET) == ""
    assert cards.front((), TARGET, None) == cards.evidence((), TARGET) == ""
