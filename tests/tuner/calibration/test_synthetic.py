from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from autoquant.errors import CalibrationError
from autoquant.tuner.calibration.synthetic import EXTREME, synthesised
from autoquant.tuner.graph.load import load
from onnx import TensorProto

from tests import zoo


def session(path: Path) -> ort.InferenceSession:
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("proto", [zoo.conv_net, zoo.transformer, zoo.two_input_net, zoo.half_net, zoo.if_net])
def test_the_model_runs_on_what_is_made_up(tmp_path: Path, proto: zoo.Callable[[], onnx.ModelProto]) -> None:
    path = zoo.save(proto(), tmp_path / "m.onnx")
    shapes = {name: array.shape for name, array in zoo.feeds(proto(), 1)[0].items()}
    given = list(synthesised(load(path), count=11, shapes=shapes))
    for feed in given:
        assert all(np.isfinite(output).all() for output in session(path).run(None, feed) if output.dtype.kind == "f")
    again = list(synthesised(load(path), count=11, shapes=shapes))
    for one, other in zip(given, again, strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])
    seeded = next(synthesised(load(path), count=1, shapes=shapes, seed=1))
    assert any((seeded[name][:1] != given[0][name][:1]).any() for name in seeded)


def test_images_are_smooth_and_standardised(tmp_path: Path) -> None:
    model = load(zoo.save(zoo.conv_net(), tmp_path / "m.onnx"))
    feeds = list(synthesised(model, count=64))
    assert [len(feed["x"]) for feed in feeds] == [8] * 8
    pixels = np.concatenate([feed["x"] for feed in feeds])
    assert pixels.dtype == np.float32
    assert abs(pixels.mean()) < 0.1
    assert 0.6 < pixels.std() < 1.1
    assert np.abs(pixels).max() == pytest.approx(EXTREME)
    flat = pixels - pixels.mean(axis=(2, 3), keepdims=True)
    neighbours = np.mean(flat[..., 1:] * flat[..., :-1]) / np.mean(np.square(flat))
    assert neighbours > 0.4, "white noise has none of it"


def test_bounds_are_kept_and_filled(tmp_path: Path) -> None:
    model = load(zoo.save(zoo.conv_net(), tmp_path / "m.onnx"))
    pixels = np.concatenate([feed["x"] for feed in synthesised(model, count=64, bounds=(0.0, 255.0))])
    assert pixels.min() == pytest.approx(0.0, abs=1e-3)
    assert pixels.max() == pytest.approx(255.0, abs=1e-3)
    assert 110 < pixels.mean() < 145


def tokens(tmp_path: Path) -> Path:
    """ids (through a Cast) index 11 rows, types 2; a mask multiplies."""
    g = zoo.Sketch(0)
    g.add("Cast", ["input_ids"], "wide", to=TensorProto.INT64)
    g.add("Gather", [g.weight("words", 11, 4), "wide"], "a")
    g.add("Gather", [g.weight("types", 2, 4), "token_type_ids"], "b")
    g.add("Add", ["a", "b"], "c")
    g.add("Cast", ["attention_mask"], "m", to=TensorProto.FLOAT)
    g.add("Unsqueeze", ["m", g.put("axes", [2], np.int64)], "m3")
    g.add("Mul", ["c", "m3"], "y")
    shape = ["N", "S"]
    inputs = [
        zoo.value("input_ids", shape, TensorProto.INT32),
        *(zoo.value(name, shape, TensorProto.INT64) for name in ("token_type_ids", "attention_mask")),
    ]
    return zoo.save(g.model(inputs, [zoo.value("y", ["N", "S", 4])]), tmp_path / "t.onnx")


def test_tokens_come_from_the_whole_table_and_masks_have_lengths(tmp_path: Path) -> None:
    path = tokens(tmp_path)
    feeds = list(synthesised(load(path), count=16))
    assert all(np.isfinite(session(path).run(None, feed)[0]).all() for feed in feeds)
    ids = np.concatenate([feed["input_ids"] for feed in feeds])
    assert ids.dtype == np.int32
    assert set(ids.ravel()) == set(range(11))
    assert not any(feed["token_type_ids"].any() for feed in feeds)
    mask = np.concatenate([feed["attention_mask"] for feed in feeds])
    assert set(mask.ravel()) == {0, 1}
    assert (np.diff(mask, axis=1) <= 0).all(), "ones first"
    assert mask.sum(axis=1).min() >= mask.shape[1] // 2


def test_text_cannot_be_made_up(tmp_path: Path) -> None:
    g = zoo.Sketch(0)
    g.add("Identity", ["t"], "u")
    proto = g.model([zoo.value("t", ["N"], TensorProto.STRING)], [zoo.value("u", ["N"], TensorProto.STRING)])
    with pytest.raises(CalibrationError, match=r"made up for the input 't'"):
        list(synthesised(load(zoo.save(proto, tmp_path / "s.onnx")), count=1))
