"""Records of scales, exported from a study and read again, through the command line."""

from __future__ import annotations

import filecmp
import functools
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import autoquant
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from autoquant.tuner.cli.main import main
from autoquant.tuner.study.export import chosen
from autoquant.tuner.study.recover import open_study
from onnx import numpy_helper

from tests import task, zoo
from tests.tuner.cli.conftest import words

Captured = pytest.CaptureFixture[str]
FORMATS = ("tensorrt-cache", "qnn-encodings", "json-record")


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], task.Task]:
    """By weight granularity: a study whose first trial has every layer in int8, of a model that a rewrite changes."""

    @functools.cache
    def made(granularity: str) -> task.Task:
        found = task.write(tmp_path_factory.mktemp(granularity), zoo.hardswish_net())
        fixed = {"weight/granularity": granularity, "weight/range": "minmax"}
        fixed |= {"correction/rounding": "nearest", "correction/bias": "off"}
        typed = auto(found, *(word for name, value in fixed.items() for word in ("--fix", f"{name}={value}")))
        assert main(typed) == 0
        return found

    return made


@pytest.fixture(params=["per_channel", "per_tensor"])
def tuned(request: pytest.FixtureRequest, studies: Callable[[str], task.Task]) -> task.Task:
    return studies(request.param)


@pytest.fixture
def study(studies: Callable[[str], task.Task]) -> task.Task:
    return studies("per_channel")


def auto(made: task.Task, *more: str) -> list[str]:
    """The command line that tunes a little task with one trial: all layers in int8."""
    typed = words(made, "--max-trials", "1", "--threads", "1", *more)
    typed[typed.index("random")] = "auto"
    return typed


def export(made: task.Task, form: str, out: Path, *more: str) -> Path:
    path = out / f"best.{form}"
    assert main(["export", str(made.out), "--format", form, "--out", str(path), *more]) == 0
    return path


def delivered(made: task.Task) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    proto = onnx.load(made.out / "model.onnx")
    return proto, {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}


def activations(made: task.Task) -> dict[str, tuple[float, int]]:
    """Float tensor → scale and zero point of the QuantizeLinear that reads it, from the delivered file."""
    proto, values = delivered(made)
    found = {}
    for node in proto.graph.node:
        if node.op_type == "QuantizeLinear":
            name = node.input[0].removesuffix("/raw")
            found[name] = (float(values[node.input[1]]), int(values[node.input[2]]))
    return found


def weights(made: task.Task) -> dict[str, np.ndarray]:
    """Layer → its weight as the delivered file dequantizes it."""
    proto, values = delivered(made)
    dequantized = {}
    for node in proto.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in values:
            integers, scale = (values[name] for name in node.input[:2])
            zero = values[node.input[2]] if len(node.input) > 2 else np.zeros_like(scale)  # of a bias
            if scale.ndim:
                axis = next(a.i for a in node.attribute if a.name == "axis")
                scale, zero = (np.expand_dims(v, [i for i in range(integers.ndim) if i != axis]) for v in (scale, zero))
            dequantized[node.output[0]] = (integers.astype(np.float32) - zero.astype(np.float32)) * scale
    return {node.name: dequantized[node.input[1]] for node in proto.graph.node if node.input[1:2] and
            node.input[1] in dequantized and node.op_type in ("Conv", "Gemm", "MatMul")}  # fmt: skip


def test_qdq_is_the_default_and_unchanged(tuned: task.Task, tmp_path: Path) -> None:
    assert filecmp.cmp(export(tuned, "qdq", tmp_path), tuned.out / "model.onnx", shallow=False)
    assert main(["export", str(tuned.out), "--out", str(tmp_path / "x.onnx")]) == 0
    assert filecmp.cmp(tmp_path / "x.onnx", tuned.out / "model.onnx", shallow=False)


def test_the_cache_of_the_best_trial(tuned: task.Task, tmp_path: Path, capsys: Captured) -> None:
    lines = export(tuned, "tensorrt-cache", tmp_path).read_text().splitlines()
    said = capsys.readouterr()
    found = {}
    for line in lines[1:]:
        name, digits = line.rsplit(": ", 1)
        found[name] = struct.unpack("!f", bytes.fromhex(digits))[0]
    quantized = activations(tuned)
    names = {name for node in onnx.load(tuned.model).graph.node for name in [*node.input, *node.output]}
    assert found.keys() == quantized.keys() & names
    for name, scale in found.items():
        step, zero = quantized[name]
        wanted = step if zero == 128 else max(zero, 255 - zero) * step / 127
        assert scale == pytest.approx(wanted, rel=1e-6)
    assert f"{len(found)} activations" in said.out
    assert "max(-low, high) / 127" in said.err
    assert len(said.err.splitlines()) <= 2


def test_the_encodings_of_the_best_trial(tuned: task.Task, tmp_path: Path, capsys: Captured) -> None:
    data = json.loads(export(tuned, "qnn-encodings", tmp_path).read_text())
    quantized = activations(tuned)
    for name, (encoding,) in data["activation_encodings"].items():
        step, zero = quantized[name]
        assert encoding["min"] == pytest.approx(-zero * step)
        assert encoding["max"] == pytest.approx((255 - zero) * step)
        assert (encoding["offset"], encoding["bitwidth"], encoding["dtype"]) == (-zero, 8, "int")
    float_weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(tuned.model).graph.initializer}
    layers, seen = weights(tuned), 0
    for node in onnx.load(tuned.model).graph.node:
        listed = data["param_encodings"].get(node.input[1] if len(node.input) > 1 else "")
        if node.name not in layers or listed is None:
            continue
        weight = float_weights[node.input[1]]
        axis = {"Conv": 0, "MatMul": weight.ndim - 1}.get(node.op_type)
        if axis is None:
            axis = 0 if any(a.name == "transB" and a.i for a in node.attribute) else 1
        shape = [-1 if i == axis else 1 for i in range(weight.ndim)]
        scale, offset = (np.asarray([e[key] for e in listed], np.float32).reshape(shape) for key in ("scale", "offset"))
        integers = np.clip(np.rint(weight / scale) - offset, 0, 255)
        np.testing.assert_array_equal((integers + offset) * scale, layers[node.name])
        assert len(listed) == (weight.shape[axis] if tuned.folder.name.startswith("per_channel") else 1)
        seen += 1
    assert seen >= 2
    assert all(e["bitwidth"] == 32 and e["offset"] == -(2**31) for name, listed in data["param_encodings"].items()
               for e in listed if name.endswith(".b"))  # fmt: skip
    assert "constants" in capsys.readouterr().out


def test_the_record_of_the_best_trial(tuned: task.Task, tmp_path: Path) -> None:
    data = json.loads(export(tuned, "json-record", tmp_path).read_text())
    with open_study(tuned.out) as store:
        trial = chosen(store, "best")
        assert data["model"] == store.fingerprint.model
        assert (data["trial"], data["study"], data["metric"]) == (trial.number, store.name, trial.metric)
        assert data["parameters"] == dict(trial.recipe)
    assert (data["target"], data["autoquant"]) == ("cpu", autoquant.__version__)
    quantized = activations(tuned)
    found = {name: t for name, t in data["tensors"].items() if t["kind"] == "activation"}
    assert {name: (t["scale"], t["offset"]) for name, t in found.items()} == quantized
    assert [name for name, layer in data["layers"].items() if layer["precision"] == "int8"] == list(weights(tuned))
    for name, layer in data["layers"].items():
        assert layer["offset_d"] == [quantized[tensor][1] - 128 for tensor in layer["inputs"]], name
        assert len(layer["scale_w"]) == len(layer["offset_w"])


@pytest.mark.parametrize("form", FORMATS)
def test_a_model_of_its_ranges_alone(study: task.Task, form: str, tmp_path: Path, capsys: Captured) -> None:
    path = export(study, form, tmp_path)
    out = tmp_path / "x.onnx"
    capsys.readouterr()
    if form == "json-record":  # it has what only the rewritten graph has, too
        assert json.loads(path.read_text())["parameters"]["rewrite/hardswish"] == "on"
    assert main(["quantize", "--model", str(study.model), "--ranges", str(path), "--out", str(out)]) == 0
    assert "x.onnx: " in (said := capsys.readouterr().out)
    assert f"by the ranges of {path.name}" in said
    x = np.load(study.folder / "data.npz")["x"][:32]
    answers = [
        ort.InferenceSession(str(model), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
        for model in (study.model, out)
    ]
    assert np.abs(answers[0] - answers[1]).max() < 0.3 * np.abs(answers[0]).max()
    with_recipe = ["quantize", "--model", str(study.model), "--ranges", str(path)]
    with_recipe += ["--recipe", str(study.out / "recipe.json"), "--out", str(tmp_path / "y.onnx")]
    assert main(with_recipe) == 0
    same = filecmp.cmp(tmp_path / "y.onnx", study.out / "model.onnx", shallow=False)
    assert same == (form != "tensorrt-cache")  # its symmetric scales are other ones


def test_tune_starts_from_ranges_and_exports_without_them(study: task.Task, tmp_path: Path, capsys: Captured) -> None:
    made = task.write(tmp_path, zoo.hardswish_net())
    ranges = export(study, "qnn-encodings", tmp_path)
    assert main(auto(made, "--ranges", str(ranges), "--fix", "activation/calibrator=imported")) == 0
    assert "tensors have imported ranges (qnn-encodings best.qnn-encodings)" in capsys.readouterr().err
    with open_study(made.out) as store:
        source = store.get("imported_ranges")
    assert (source["file"], source["format"]) == ("best.qnn-encodings", "qnn-encodings")
    listed = json.loads(ranges.read_text())["activation_encodings"]
    ranges.unlink()
    model, record = export(made, "qdq", tmp_path), json.loads(export(made, "json-record", tmp_path).read_text())
    assert filecmp.cmp(model, made.out / "model.onnx", shallow=False)
    assert record["ranges"] == source
    for name, (encoding,) in listed.items():
        if name in record["tensors"] and record["parameters"]["activation/symmetry"] == "asymmetric":
            assert record["tensors"][name]["scale"] == encoding["scale"]
    replayed = ["quantize", "--model", str(made.model), "--recipe", str(made.out / "recipe.json")]
    assert main([*replayed, "--out", str(tmp_path / "z.onnx")]) == 0
    assert filecmp.cmp(tmp_path / "z.onnx", model, shallow=False)


def test_other_ranges_are_another_study_that_shares_the_calibration(study: task.Task, tmp_path: Path) -> None:
    made = task.write(tmp_path, zoo.hardswish_net())
    usual = words(made, "--max-trials", "2")
    files = [export(study, form, tmp_path) for form in ("qnn-encodings", "tensorrt-cache")]
    for more in ([], ["--ranges", str(files[0])], ["--ranges", str(files[1])], []):
        assert main([*usual, *more]) in (0, 1)  # a random trial may have few layers in int8: no gain
    with open_study(made.out, "model 50% ops random") as plain:
        assert not any("imported" in by for by in plain.get("ranges")["values"].values())
        assert all("imported" not in value for value in plain.choices.values())
        assert plain.get("imported_ranges") is None
        samples = plain.get("ranges")["samples"]
    names = _names(made)
    assert len(names) == 3
    spans = set()
    for name in names - {"model 50% ops random"}:
        with open_study(made.out, name) as store:
            assert store.choices["activation/calibrator"][0] == "imported"
            assert store.get("ranges")["samples"] == samples
            spans.add(json.dumps({tensor: by["imported"] for tensor, by in store.get("ranges")["values"].items()}))
    assert len(spans) == 2


def _names(made: task.Task) -> set[str]:
    from autoquant.tuner.study.database import url_of
    from autoquant.tuner.study.opening import names

    return set(names(url_of(made.out / "study.db")))


def test_one_name_does_not_take_other_ranges(study: task.Task, tmp_path: Path, capsys: Captured) -> None:
    made = task.write(tmp_path, zoo.hardswish_net())
    usual = auto(made, "--study-name", "mine")
    assert main(usual) == 0
    capsys.readouterr()
    assert main([*usual, "--ranges", str(export(study, "json-record", tmp_path))]) == 2
    message = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("[")]
    assert "is for --ranges none, but this run asks for --ranges of content" in message[0]
    assert len(message) == 2


BAD: list[tuple[list[str], str]] = [
    (["export", "{out}", "--format", "amct", "--out", "x"], "invalid choice: 'amct'"),
    (["export", "{out}", "--format", "json-record", "--out", "{tmp}/no/x"], "cannot be written"),
    (["export", "{out}", "--format", "qnn-encodings", "--trial", "99", "--out", "{tmp}/x"], "has no trial 99"),
    (["quantize", "--model", "{model}", "--out", "x"], "nothing says how to quantize"),
    (["quantize", "--model", "{model}", "--ranges", "{tmp}/none", "--out", "x"], "--ranges cannot read"),
    (["quantize", "--model", "{model}", "--ranges", "{model}", "--out", "x"], "neither a TensorRT calibration cache"),
    (["quantize", "--model", "{model}", "--ranges", "{strange}", "--out", "x"], "1 of 1 tensors that the model"),
    (["quantize", "--model", "{model}", "--ranges", "{cache}", "--target", "tpu", "--out", "x"], "no target 'tpu'"),
    (
        ["quantize", "--model", "{model}", "--ranges", "{cache}", "--recipe", "{out}/recipe.json", "--target", "cpu",
         "--out", "x"],
        "--target goes with --ranges or --data-free alone",
    ),
    (["quantize", "--model", "{model}", "--ranges", "{cache}", "--out", "{tmp}/no/x.onnx"], "Cannot write"),
    (["tune", "--model", "{model}", "--eval", "{eval}", "--out", "{tmp}/o", "--ranges", "{strange}"], "have: odd"),
    (["quantize", "--model", "{model}", "--recipe", "{edited}", "--study", "{out}", "--out", "x"],
     "the study holds no imported ranges"),
    (["quantize", "--model", "{model}", "--recipe", "{edited}", "--out", "x"], "asks for imported asymmetric ranges"),
]  # fmt: skip


@pytest.mark.parametrize(("typed", "message"), BAD)
def test_bad_requests_are_two_lines(
    study: task.Task, typed: list[str], message: str, tmp_path: Path, capsys: Captured
) -> None:
    (tmp_path / "strange").write_text("TRT-8601-EntropyCalibration2\nodd: 3c009976\n")
    (tmp_path / "cache").write_text("TRT-8601-EntropyCalibration2\nx: 3c009976\n")
    recipe: dict[str, Any] = json.loads((study.out / "recipe.json").read_text())
    recipe["parameters"] |= {"activation/calibrator": "imported", "activation/symmetry": "asymmetric"}
    (tmp_path / "edited").write_text(json.dumps(recipe))
    places = {name: tmp_path / name for name in ("strange", "cache", "edited")}
    places |= {"tmp": tmp_path, "out": study.out, "model": study.model, "eval": study.evaluate}
    assert main([word.format(**places) for word in typed]) == 2
    shown = capsys.readouterr().err
    errors = [line for line in shown.splitlines() if not line.startswith("[")]
    assert message in shown
    assert 1 <= len(errors) <= 2
    assert "Traceback" not in shown
