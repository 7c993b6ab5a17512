import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from autoquant.evaluators.evaluation import load_evaluation
from autoquant.tuner.cli.evalfile import Signature, Tensor, signature, source
from autoquant.tuner.cli.main import main
from onnx import TensorProto, helper

from tests import zoo

Captured = pytest.CaptureFixture[str]


def fixed(batch: int, last: int) -> onnx.ModelProto:
    """x [batch, 4] → y [batch, last]."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, last])
    weight = helper.make_tensor("w", TensorProto.FLOAT, [4, last], np.linspace(-1, 1, 4 * last))
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [x], [y], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def data(proto: onnx.ModelProto, samples: int = 40) -> dict[str, np.ndarray]:
    """Random arrays as the written file wants them: labels are zeros."""
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}
    for tensor in signature(proto).inputs:
        shape = [size if isinstance(size, int) else 8 for size in (tensor.shape or ())][1:]
        whole = tensor.dtype.startswith("int")
        arrays[tensor.name] = rng.integers(0, 2, (samples, *shape)) if whole else rng.standard_normal((samples, *shape))
    return arrays | {"labels": np.zeros(samples, int)}


@pytest.mark.parametrize(
    "build", [zoo.conv_net, zoo.two_input_net, lambda: fixed(1, 3), lambda: fixed(16, 3), lambda: fixed(16, 1)]
)
def test_the_written_file_scores_its_model(
    build: Callable[[], onnx.ModelProto], folder: Path, capsys: Captured
) -> None:
    proto = build()
    zoo.save(proto, folder / "m.onnx")
    assert main(["init", "--model", "m.onnx"]) == 0
    assert "eval.py is written" in capsys.readouterr().out
    np.savez(folder / "data.npz", **data(proto))
    assert main(["eval", "m.onnx", "--eval", "eval.py", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["samples"] == 40
    evaluation = load_evaluation(folder / "eval.py", model_path=folder / "m.onnx")
    assert evaluation.form == "random_access"
    calibration = evaluation.calibration()
    assert calibration is not None
    assert sum(len(next(iter(feed.values()))) for feed in calibration) >= 40


def test_a_number_is_an_error_to_be_small(folder: Path) -> None:
    zoo.save(fixed(16, 1), folder / "m.onnx")
    assert main(["init", "--model", "m.onnx"]) == 0
    text = (folder / "eval.py").read_text()
    assert "mean absolute error" in text
    assert "higher_is_better = False" in text


def test_an_existing_file_is_left_alone(folder: Path, capsys: Captured) -> None:
    zoo.save(zoo.conv_net(), folder / "m.onnx")
    (folder / "eval.py").write_text("mine")
    assert main(["init", "--model", "m.onnx"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert (folder / "eval.py").read_text() == "mine"
    assert main(["init", "--model", "m.onnx", "--force"]) == 0
    assert "def score" in (folder / "eval.py").read_text()


def test_names_that_are_no_identifiers_are_quoted() -> None:
    odd = Tensor('in"put/0:\\n', "float32", ("N", 3))
    text = source("m.onnx", Signature((odd,), (Tensor("out'put", "float32", ("N", 10)),)))
    compile(text, "eval.py", "exec")
    assert '"in\\"put/0:\\\\n"' in text


def test_without_a_model_there_is_nothing_to_fit(folder: Path, capsys: Captured) -> None:
    assert main(["init", "--model", "nowhere.onnx"]) == 2
    assert "nowhere.onnx" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("shapes", "batch"),
    [
        ([("N", 3)], 32),
        ([(1, 3)], 1),
        ([(8, 3), (8,)], 8),
        ([("N", 3), ("M", 3)], 32),
        ([(8, 3), (4,)], None),
        ([(16000,)], None),
        ([()], None),
        ([None], None),
    ],
)
def test_the_batch_follows_from_the_inputs(shapes: list[tuple[int | str, ...] | None], batch: int | None) -> None:
    inputs = tuple(Tensor(f"x{i}", "float32", shape) for i, shape in enumerate(shapes))
    assert Signature(inputs, ()).batch == batch
