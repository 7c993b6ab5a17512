"""Models for whoever has neither data nor a metric, through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from autoquant.tuner.cli.main import main

from tests import zoo

MINMAX = "activation/calibrator=minmax"


def quantize(*words: object) -> int:
    return main(["quantize", *map(str, words)])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return zoo.save(zoo.conv_net(), tmp_path / "m.onnx")


def outputs(path: Path, feed: dict[str, np.ndarray]) -> np.ndarray:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, feed)[0]
    return found


def test_it_is_near_float_on_data_it_never_saw(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "q.onnx"
    assert quantize("--model", model, "--data-free", "--out", out) == 0
    said = capsys.readouterr().out
    assert "5 layers int8" in said
    assert "data-free, 64 samples, statistics of 1 BatchNormalization" in said
    assert "Nothing was scored" in said
    feed = {"x": np.random.default_rng(5).standard_normal((16, 3, 16, 16)).astype(np.float32)}
    whole, mine = outputs(model, feed), outputs(out, feed)
    assert np.square(whole - mine).sum() < 0.02 * np.square(whole).sum()
    assert not any("data" in entry.key for entry in onnx.load(out).metadata_props)


def test_its_recipe_rebuilds_it_and_says_where_the_ranges_come_from(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "q.onnx"
    words = ("--model", model, "--data-free", "--fix", "weight/range=mse", "--keep-float", "^down$")
    assert quantize(*words, "--out", out) == 0
    recipe = json.loads((tmp_path / "q.recipe.json").read_text())
    assert recipe["data_free"].startswith("made-up inputs")
    assert (recipe["parameters"]["layer/down"], recipe["parameters"]["weight/range"]) == ("fp32", "mse")
    assert quantize("--model", model, "--recipe", tmp_path / "q.recipe.json", "--out", tmp_path / "again.onnx") == 0
    assert (tmp_path / "again.onnx").read_bytes() == out.read_bytes()
    assert quantize(*words, "--out", tmp_path / "same.onnx") == 0
    assert (tmp_path / "same.onnx").read_bytes() == out.read_bytes()
    assert quantize(*words, "--seed", 1, "--out", tmp_path / "other.onnx") == 0
    assert (tmp_path / "other.onnx").read_bytes() != out.read_bytes()


def test_an_input_range_widens_what_is_calibrated(model: Path, tmp_path: Path) -> None:
    def span(*words: str) -> float:
        assert quantize("--model", model, "--data-free", "--fix", MINMAX, *words, "--out", tmp_path / "q.onnx") == 0
        made = json.loads((tmp_path / "q.recipe.json").read_text())["activations"]["x"]
        return float(made["scale"] * 255)

    assert span("--input-range", "0,255") == pytest.approx(255, rel=0.01)
    assert span() == pytest.approx(5.2, rel=0.01)


def test_sizes_that_nothing_settles_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    g = zoo.Sketch(0)
    g.conv("x", "y", 3, 4)
    shape = ["N", 3, "H", "W"]
    proto = g.model([zoo.value("x", shape)], [zoo.value("y", ["N", 4, "H", "W"])])
    words = ("--model", zoo.save(proto, tmp_path / "m.onnx"), "--data-free", "--calibration-samples", 2)
    assert quantize(*words, "--out", tmp_path / "q.onnx") == 0
    assert "sizes of x open: 1x3x224x224 assumed" in capsys.readouterr().err
    assert quantize(*words, "--input-shape", "x=1x3x20x40", "--out", tmp_path / "q.onnx") == 0
    assert "assumed" not in capsys.readouterr().err
    assert json.loads((tmp_path / "q.recipe.json").read_text())["activations"]["x"]["shape"][1:] == [3, 20, 40]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--data-free", "--recipe", "r.json"), "--data-free stands alone"),
        (("--data-free", "--input-range", "2,1"), "LOW below HIGH"),
        (("--data-free", "--input-range", "wide"), "such as -1,1 or 0,255"),
        (("--data-free", "--input-shape", "z=1x3"), "the model's inputs are x"),
        (("--data-free", "--input-shape", "x=1x3"), "must have 4 sizes"),
        (("--data-free", "--fix", "correction/bias=on"), "there are neither samples nor results"),
        (("--input-range", "0,1", "--recipe", "r.json"), "goes with --data-free"),
        ((), "or --data-free"),
    ],
)
def test_what_cannot_be_is_said_in_two_lines(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    assert quantize("--model", model, *words, "--out", tmp_path / "q.onnx") == 2
    text = capsys.readouterr().err
    assert said in text
    assert len(text.strip().splitlines()) <= 2
    assert not (tmp_path / "q.onnx").exists()
