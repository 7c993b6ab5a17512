from pathlib import Path

import numpy as np
import pytest
from autoquant.evaluators.feeds import Input, batch_of, describe, inputs_of, inputs_of_file, problem, single
from autoquant.evaluators.session import open_session
from onnx import TensorProto, helper, numpy_helper

from tests import zoo
from tests.evaluators.test_arrays import identity

IMAGE, MASK = Input("image", "float32", ("N", 3, None)), Input("mask", "int64", ("N",))


def feed(rows: int = 4) -> dict[str, np.ndarray]:
    return {"image": np.zeros((rows, 3, 7), "f4"), "mask": np.zeros(rows, np.int64)}


def test_file_and_session_say_the_same(tmp_path: Path) -> None:
    for name, proto in {"two": zoo.two_input_net(), "text": zoo.transformer(), "if": zoo.if_net()}.items():
        path = zoo.save(proto, tmp_path / f"{name}.onnx")
        assert inputs_of_file(path) == inputs_of(open_session(path, threads=1))


def test_inputs_that_are_no_tensors(tmp_path: Path) -> None:
    proto = identity(["N"])
    proto.graph.input.append(helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None))
    assert inputs_of_file(zoo.save(proto, tmp_path / "m.onnx"))[1] == Input("s", "sequence_type", None)


@pytest.mark.parametrize("size", [-1, 0])
def test_sizes_that_exporters_write_for_dynamic(size: int, tmp_path: Path) -> None:
    proto = identity([size, 3])
    (item,) = inputs_of_file(zoo.save(proto, tmp_path / "m.onnx"))
    assert item.shape == (None if size < 0 else 0, 3)


def test_weights_among_the_inputs_are_no_inputs(tmp_path: Path) -> None:
    proto = identity(["N"])
    proto.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [2]))
    proto.graph.initializer.append(numpy_helper.from_array(np.zeros(2, "f4"), "w"))
    assert [item.name for item in inputs_of_file(zoo.save(proto, tmp_path / "m.onnx"))] == ["x"]


def test_describe() -> None:
    text = describe((IMAGE, MASK, Input("t", "bool", ()), Input("u", "str", None)))
    assert text == "image float32 [N, 3, ?]; mask int64 [N]; t bool []; u str"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, None),
        ({"other": np.zeros(1)}, "the model has no input 'other'"),
        ({"mask": None}, "input 'mask' is missing"),
        ({"mask": np.zeros(4)}, "input 'mask' is float64, but the model wants int64"),
        ({"image": np.zeros((4, 2, 7), "f4")}, "input 'image' has shape [4, 2, 7], but the model wants image float32"),
        ({"image": np.zeros((4, 3), "f4")}, "input 'image' has shape [4, 3], but the model wants image float32 [N, 3,"),
    ],
)
def test_problem(change: dict[str, np.ndarray | None], message: str | None) -> None:
    given = {name: array for name, array in (feed() | change).items() if array is not None}
    found = problem(given, (IMAGE, MASK))
    assert found is None if message is None else found is not None and found.startswith(message)


def test_batch_and_single() -> None:
    inputs = (IMAGE, MASK)
    assert batch_of(feed(4), inputs) == 4
    assert {n: a.shape for n, a in single(feed(4), inputs).items()} == {"image": (1, 3, 7), "mask": (1,)}
    assert single(feed(1), inputs)["mask"].shape == (1,)
    assert batch_of(feed(4) | {"mask": np.zeros(3, np.int64)}, inputs) is None
    assert batch_of({"image": feed()["image"]}, inputs) is None


@pytest.mark.parametrize("first", [4, "seq_len", "time"])
def test_no_batch(first: int | str) -> None:
    inputs = (Input("x", "float32", (first, 2)),)
    given = {"x": np.zeros((4, 2), "f4")}
    assert batch_of(given, inputs) is None
    assert single(given, inputs) is given


def test_scalars_have_no_batch() -> None:
    assert batch_of({"x": np.zeros(())}, (Input("x", "float32", ()),)) is None
    assert batch_of({}, ()) is None
