import argparse
from collections.abc import Callable
from typing import Any

import pytest
from autoquant.tuner.cli.arguments import Parser, duration, natural, positive, setting, trial


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("30m", 1800),
        ("1.5h", 5400),
        ("1h30m", 5400),
        ("2 min", 120),
        ("1d", 86400),
        ("0.5", 0.5),
    ],
)
def test_duration(text: str, seconds: float) -> None:
    assert duration(text) == seconds


def test_settings_split_at_the_last_equals_sign() -> None:
    assert setting("layer/a=b/Conv=fp32") == ("layer/a=b/Conv", "fp32")
    assert setting(" op/Add = int8 ") == ("op/Add", "int8")


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        *((duration, text) for text in ("", "0", "-3", "m", "30 parsecs", "inf", "nan", "1h-5m")),
        *((positive, text) for text in ("0", "-1", "2.5", "x", "")),
        *((natural, text) for text in ("-1", "1e3", "")),
        *((setting, text) for text in ("op/Add", "=int8", "op/Add=")),
        *((trial, text) for text in ("-1", "first", "1.0", "")),
    ],
)
def test_what_is_impossible_is_named(parse: Callable[[str], Any], text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="but got"):
        parse(text)


def test_trials_are_numbers_or_best() -> None:
    assert trial("best") == "best"
    assert trial("12") == 12


def test_a_complaint_is_two_lines(capsys: pytest.CaptureFixture[str]) -> None:
    parser = Parser(prog="autoquant tune")
    parser.add_argument("--max-trials", type=positive)
    with pytest.raises(SystemExit) as stop:
        parser.parse_args(["--max-trials", "x"])
    assert stop.value.code == 2
    assert capsys.readouterr().err == (
        "autoquant tune: argument --max-trials: must be a whole number above 0, but got 'x'\n"
        "See `autoquant tune --help`.\n"
    )


def test_options_are_not_abbreviated(capsys: pytest.CaptureFixture[str]) -> None:
    parser = Parser(prog="autoquant")
    parser.add_argument("--fresh", action="store_true")
    with pytest.raises(SystemExit):
        parser.parse_args(["--fre"])
    assert "unrecognized arguments: --fre" in capsys.readouterr().err
