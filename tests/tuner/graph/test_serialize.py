from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from autoquant.errors import OutputError
from autoquant.tuner.graph import serialize
from autoquant.tuner.graph.load import load
from autoquant.tuner.graph.model import Model
from autoquant.tuner.graph.serialize import inline, size, skeleton, write

from tests import zoo
from tests.tuner.graph.running import load_proto, run


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return load_proto(zoo.transformer(), tmp_path)


@pytest.mark.parametrize("name", zoo.ALL)
def test_a_written_file_is_the_inlined_model_and_its_size_is_foretold(name: str, tmp_path: Path) -> None:
    model = load_proto(zoo.ALL[name](), tmp_path)
    write(model.proto, model.weights, tmp_path / "out.onnx")
    assert onnx.load(tmp_path / "out.onnx") == inline(model.proto, model.weights)
    assert (tmp_path / "out.onnx").stat().st_size == size(model.proto, model.weights)
    assert [file.name for file in tmp_path.iterdir() if "out" in file.name] == ["out.onnx"]


def test_writing_twice_gives_the_same_bytes(model: Model, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(model.proto, model.weights, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("name", ["transformer", "if_net", "loop_net", "conv_net"])
def test_a_skeleton_runs_with_its_weights_handed_over(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autoquant.tuner.graph.load.INLINE_BYTES", 64)
    monkeypatch.setattr("autoquant.tuner.graph.tensors.INLINE_BYTES", 64)
    proto = zoo.ALL[name]()
    model = load_proto(proto, tmp_path)
    assert model.weights
    options = ort.SessionOptions()
    held = [ort.OrtValue.ortvalue_from_numpy(np.array(array)) for array in model.weights.values()]
    options.add_external_initializers(list(model.weights), held)
    light = ort.InferenceSession(skeleton(model.proto), options, providers=["CPUExecutionProvider"])
    whole = run(inline(model.proto, model.weights).SerializeToString(), zoo.feeds(proto))
    for feed, expected in zip(zoo.feeds(proto), whole, strict=True):
        np.testing.assert_array_equal(light.run(None, feed)[0], expected[0])


def test_large_models_get_a_data_file(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(model.proto, model.weights, tmp_path / "whole.onnx")
    monkeypatch.setattr(serialize, "EXTERNAL_BYTES", 4000)
    path = tmp_path / "large.onnx"
    write(model.proto, model.weights, path)
    data = tmp_path / "large.onnx.data"
    assert data.stat().st_size + path.stat().st_size == pytest.approx(size(model.proto, model.weights), rel=0.01)
    feeds = zoo.feeds(zoo.transformer())
    np.testing.assert_array_equal(run(path, feeds), run(tmp_path / "whole.onnx", feeds))
    again = load(path)
    assert set(again.weights) == set(model.weights)
    assert inline(again.proto, again.weights) == inline(model.proto, model.weights)
    onnx.checker.check_model(path)


def test_arrays_need_not_be_contiguous_nor_little_endian(model: Model, tmp_path: Path) -> None:
    odd = {
        name: np.asfortranarray(array).astype(array.dtype.newbyteorder(">")) for name, array in model.weights.items()
    }
    write(model.proto, odd, tmp_path / "odd")
    write(model.proto, model.weights, tmp_path / "plain")
    assert (tmp_path / "odd").read_bytes() == (tmp_path / "plain").read_bytes()


def test_inlining_leaves_the_skeleton_as_it_is(model: Model) -> None:
    before = skeleton(model.proto)
    full = inline(model.proto, model.weights)
    assert skeleton(model.proto) == before
    assert len(before) < len(full.SerializeToString()) / 2


def test_a_missing_folder(model: Model, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"there is no folder .*/none. Create it"):
        write(model.proto, model.weights, tmp_path / "none" / "m.onnx")


def test_a_folder_in_the_way(model: Model, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="it is a folder"):
        write(model.proto, model.weights, tmp_path)
    assert list(tmp_path.parent.glob("*.tmp")) == []


@pytest.mark.parametrize(
    ("code", "words"),
    [(errno.ENOSPC, "the disk is full"), (errno.EACCES, "no permission"), (errno.EIO, "Input/output")],
)
def test_a_write_that_fails_leaves_the_old_file(
    code: int, words: str, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"old")

    def fail(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError, match=words):
        write(model.proto, model.weights, path)
    assert path.read_bytes() == b"old"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["m.onnx", "original.onnx"]


def test_an_interrupted_write_leaves_the_old_file(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"old")

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write(model.proto, model.weights, path)
    assert path.read_bytes() == b"old"
    assert not list(tmp_path.glob(".*"))
