import pytest
from autoquant.tuner.report import format as write
from hypothesis import given
from hypothesis import strategies as some


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.7148, "0.7148"), (-1.5, "-1.5000"), (23.456, "23.46"), (0.0, "0.0000"), (1.2e-5, "1.2e-05"), (3e6, "3e+06")],
)
def test_metric(value: float, text: str) -> None:
    assert write.metric(value) == text


@pytest.mark.parametrize(
    ("value", "relative", "text"),
    [
        (0.0066, True, "0.66%"),
        (-0.0012, True, "-0.12%"),
        (-0.00001, True, "0.00%"),
        (0.19, True, "19.00%"),
        (0.0047, False, "0.0047"),
        (-0.002, False, "-0.0020"),
    ],
)
def test_drop(value: float, relative: bool, text: str) -> None:
    assert write.drop(value, relative) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.4, "0.4 s"), (38.2, "38 s"), (59.7, "1 min 00 s"), (125, "2 min 05 s"), (3720, "1 h 02 min")],
)
def test_seconds(value: float, text: str) -> None:
    assert write.seconds(value) == text


@pytest.mark.parametrize(("value", "text"), [(7, "0:07"), (760.9, "12:40"), (3723, "1:02:03"), (-1, "0:00")])
def test_clock(value: float, text: str) -> None:
    assert write.clock(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(12, "12 B"), (590_000, "590 kB"), (999_999, "1 MB"), (18_600_000, "18.6 MB"), (2.31e9, "2.31 GB")],
)
def test_size(value: float, text: str) -> None:
    assert write.size(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.8534, "0.853 ms"), (7.2, "7.20 ms"), (12.41, "12.4 ms"), (1240, "1.24 s")]
)
def test_milliseconds(value: float, text: str) -> None:
    assert write.milliseconds(value) == text


def test_what_is_missing_is_a_dash() -> None:
    ways = (write.metric, write.milliseconds, write.speedup, write.seconds, write.size)
    assert {way(None) for way in ways} | {write.drop(None, True)} == {write.MISSING}


def test_words() -> None:
    assert write.many(1, "layer") == "1 layer"
    assert write.many(1490, "sample") == "1,490 samples"
    assert write.count(5.25) == "5.2"
    assert write.smaller(18.6, 4.9) == "3.8× smaller"
    assert write.smaller(4.9, 18.6) == write.smaller(4.9, None) == ""
    assert write.interval((0.001, 0.012), lambda value: write.drop(value, True)) == "0.10% to 1.20%"


@given(some.floats(0, 1e12))
def test_a_size_fits_a_column(value: float) -> None:
    assert len(write.size(value)) <= 8
