"""Ranges from files: read, checked against a model, laid beside calibrated ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from autoquant.errors import OptionError
from autoquant.strategies.words import IMPORTED
from autoquant.tuner.calibration.ranges import Ranges
from autoquant.tuner.graph.load import load
from autoquant.tuner.graph.rewrite.variants import Variants
from autoquant.tuner.quantization import scales
from autoquant.tuner.quantization.records import encodings, jsonrecord, tensorrt
from autoquant.tuner.quantization.records.ranges import Imported, read, without
from autoquant.tuner.quantization.records.record import Record, TensorRecord
from autoquant.tuner.quantization.variants import extended
from hypothesis import given
from hypothesis import strategies as st

from tests import zoo
from tests.tuner.quantization.records.making import SCALES, activations


def file(folder: Path, text: str) -> Path:
    path = folder / "ranges"
    path.write_text(text)
    return path


def cache(folder: Path, *names: str) -> Imported:
    return read(file(folder, tensorrt.write(dict.fromkeys(names, 0.25))))


@given(activations())
def test_a_scale_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, tensor: TensorRecord) -> None:
    record = Record({"t": tensor}, {})
    folder = tmp_path_factory.mktemp("scale")
    for text in (encodings.write(record.tensors), jsonrecord.write(record)):
        low, high = read(file(folder, text)).spans["t"].ranges(negative=True)["asymmetric"]
        scale, zero_point = scales.activation(low, high, symmetric=False, dtype=tensor.dtype)
        assert (float(scale), zero_point) == (tensor.scale[0], tensor.offset[0])


@given(SCALES)
def test_a_symmetric_scale_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, scale: float) -> None:
    folder = tmp_path_factory.mktemp("scale")
    record = Record({"t": TensorRecord("activation", (scale,), (0,), "int8")}, {})
    for text in (tensorrt.write({"t": scale}), encodings.write(record.tensors), jsonrecord.write(record)):
        imported = read(file(folder, text))
        assert imported.symmetric
        for dtype, zero in (("int8", 0), ("uint8", 128)):
            low, high = imported.spans["t"].ranges(negative=True)["symmetric"]
            assert low == -high
            found = scales.activation(low, high, symmetric=True, dtype=dtype)
            assert (float(found[0]), found[1]) == (scale, zero)


@given(activations(), st.booleans())
def test_ranges_hold_zero(tensor: TensorRecord, negative: bool) -> None:
    low, high = tensor.ends[0]
    span = jsonrecord_span(tensor)
    for symmetry, (lower, upper) in span.ranges(negative=negative).items():
        assert lower <= 0 <= upper
        assert upper - lower > 0
        if not negative:
            assert lower == 0
        elif symmetry == "symmetric":
            assert lower == -upper
            assert upper >= max(-low, high) - tensor.scale[0] * 1.001
        else:
            assert (lower, upper) == (low, high)


def jsonrecord_span(tensor: TensorRecord):  # type: ignore[no-untyped-def]
    from autoquant.tuner.quantization.records.ranges import _span

    return _span(tensor)


def test_formats_are_told_by_their_content(tmp_path: Path) -> None:
    tensors = {
        "t": TensorRecord("activation", (0.5,), (3,), "uint8"),
        "w": TensorRecord("weight", (1.0,), (0,), "int8"),
    }
    record = Record(tensors, {}, {"model": "f00"})
    found = {
        "tensorrt-cache": tensorrt.write({"t": 0.5}),
        "qnn-encodings": encodings.write(tensors),
        "json-record": jsonrecord.write(record),
    }
    digests = set()
    for form, text in found.items():
        imported = read(file(tmp_path, text))
        assert (imported.form, list(imported.spans)) == (form, ["t"])
        assert imported.model == ("f00" if form == "json-record" else "")
        assert imported.to_json() == {"file": "ranges", "format": form, "sha256": imported.digest, "tensors": 1}
        digests.add(imported.digest)
    assert len(digests) == 3


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\x08\x07\x12\xff\xfe", b'{"format": "autoquant recipe 1"}'])
def test_what_is_none_of_them_is_two_lines(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd"
    path.write_bytes(content)
    with pytest.raises(OptionError, match="odd: neither a TensorRT calibration cache, nor QNN/AIMET") as caught:
        read(path)
    assert str(caught.value).count("\n") == 1
    with pytest.raises(OptionError, match=r"cannot read .*nowhere: No such file"):
        read(tmp_path / "nowhere")
    path.write_text(json.dumps({"activation_encodings": {"a": [{"scale": 0, "offset": 0}]}}))
    with pytest.raises(OptionError, match="odd: the scale of 'a' must be a number above 0"):
        read(path)


def test_ranges_of_another_model_are_two_lines(tmp_path: Path) -> None:
    model = load(zoo.save(zoo.hardswish_net(), tmp_path / "model.onnx"))
    variants = Variants(model)
    needed = variants.union.tensors
    for strange in (("odd",), (needed[0], "odd", "other")):
        with pytest.raises(OptionError) as caught:
            cache(tmp_path, *strange).check(variants)
        text = str(caught.value)
        assert (
            f"has {len(set(strange) - {needed[0]})} of {len(strange)} tensors that the model does not have: odd" in text
        )
        assert text.count("\n") == 1
    idle = next(tensor.name for tensor in model.proto.graph.initializer)
    with pytest.raises(
        OptionError, match=rf"has none of the {len(needed)} tensors that quantization needs; it has {idle}"
    ):
        cache(tmp_path, idle).check(variants)
    rewritten = set(variants.full.analysis.tensors) - set(variants.analysis.tensors)
    assert rewritten
    cache(tmp_path, needed[0], *rewritten, "(Unnamed Layer* 4) [Shuffle]_output").check(variants)


def test_a_tensor_folded_away_is_still_the_file_s(tmp_path: Path) -> None:
    proto = zoo.conv_net()
    model = load(zoo.save(proto, tmp_path / "model.onnx"))
    loaded = {name for node in model.proto.graph.node for name in node.output}
    gone = [name for node in proto.graph.node for name in node.output if name not in loaded]
    assert gone
    cache(tmp_path, *gone, "x").check(Variants(model))


def test_over_calibrated_ranges(tmp_path: Path) -> None:
    signed, positive = (-2.0, 1.0), (0.0, 3.0)
    ranges = Ranges(
        {
            "a": {"minmax": {"asymmetric": signed, "symmetric": (-2.0, 2.0)}},
            "b": {"minmax": {"asymmetric": positive, "symmetric": positive}},
            "c": {"minmax": {"asymmetric": signed, "symmetric": (-2.0, 2.0)}, IMPORTED: {"asymmetric": (-9.0, 9.0)}},
        },
        {"a": (1, 2)},
        7,
    )
    found = cache(tmp_path, "a", "b", "never seen").over(ranges)
    assert found.values["a"][IMPORTED] == {"asymmetric": (-32.0, 31.75), "symmetric": (-31.75, 31.75)}
    assert found.values["b"][IMPORTED] == {"asymmetric": (0.0, 31.75), "symmetric": (0.0, 31.75)}
    assert found.values["c"][IMPORTED] == found.values["c"]["minmax"]
    assert "never seen" not in found.values
    assert (found.shapes, found.samples) == (ranges.shapes, 7)
    assert without(found).values["a"] == ranges.values["a"]
    assert IMPORTED not in without(ranges).values["c"]


def test_a_scaled_tensor_s_range_goes_back_to_its_source(tmp_path: Path) -> None:
    model = load(zoo.save(zoo.transformer(), tmp_path / "model.onnx"))
    variants = Variants(model)
    image = variants.full.derived["q/scaled"]
    imported = cache(tmp_path, "q/scaled", "embedded")
    imported.check(variants)
    found = imported.at_sources(variants.full.derived)
    assert found.spans[image.source].most == pytest.approx(31.75 / image.factor)
    whole = {"asymmetric": (-1.0, 1.0), "symmetric": (-1.0, 1.0)}
    ranges = found.over(Ranges({name: {"minmax": whole} for name in variants.analysis.tensors}))
    moved = extended(ranges, variants.full.derived)
    assert moved.get("q/scaled", IMPORTED, "symmetric") == pytest.approx((-31.75, 31.75))
    both = cache(tmp_path, "q/scaled", image.source).at_sources(variants.full.derived)
    assert both.spans[image.source].most == 31.75


def test_alone(tmp_path: Path) -> None:
    found = cache(tmp_path, "a", "b").alone({"a": (1, 3)}, {"a"})
    assert found.get("a", IMPORTED, "symmetric") == (-31.75, 31.75)
    assert found.get("b", IMPORTED, "symmetric") == (0.0, 31.75)
    assert found.shapes == {"a": (1, 3)}
    assert np.isfinite(found.get("b", IMPORTED, "asymmetric")).all()
