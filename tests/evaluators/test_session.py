from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from autoquant.errors import DeviceError, ModelError
from autoquant.evaluators.device import CUDA_PROVIDER, Device
from autoquant.evaluators.session import explain, open_session
from onnx import TensorProto, helper

SHAPE = (64, 48)


def skeleton(kind: int, op: str = "Cast") -> bytes:
    """y = x + cast(w), where w has no data: it is marked as external, without a file."""
    tensor = TensorProto(name="w", data_type=kind, dims=SHAPE, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="nowhere")
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node(op, ["w"], ["c"], to=TensorProto.FLOAT), helper.make_node("Add", ["x", "c"], ["y"])],
        "g",
        [value("x", TensorProto.FLOAT, SHAPE)],
        [value("y", TensorProto.FLOAT, SHAPE)],
        [tensor],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return model.SerializeToString()


def matmuls(layers: int = 3) -> tuple[bytes, bytes, dict[str, np.ndarray]]:
    """The same net twice: whole, and as a skeleton with its weights beside it."""
    rng = np.random.default_rng(0)
    weights = {f"w{i}": rng.standard_normal((48, 48)).astype("f4") for i in range(layers)}
    names = ["x", *(f"h{i}" for i in range(layers))]
    nodes = [helper.make_node("MatMul", [names[i], f"w{i}"], [names[i + 1]]) for i in range(layers)]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [value("x", 1, ["n", 48])], [value(names[-1], 1, ["n", 48])],
        [onnx.numpy_helper.from_array(w, n) for n, w in weights.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    whole = model.SerializeToString()
    for tensor in model.graph.initializer:
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="nowhere")
    return whole, model.SerializeToString(), weights


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        (TensorProto.FLOAT, "f4"),
        (TensorProto.FLOAT16, "f2"),
        (TensorProto.DOUBLE, "f8"),
        (TensorProto.BOOL, "?"),
        (TensorProto.INT8, "i1"),
        (TensorProto.UINT8, "u1"),
        (TensorProto.UINT16, "u2"),
        (TensorProto.INT32, "i4"),
        (TensorProto.INT64, "i8"),
        (TensorProto.BFLOAT16, ml_dtypes.bfloat16),
        (TensorProto.FLOAT8E4M3FN, ml_dtypes.float8_e4m3fn),
        (TensorProto.INT4, ml_dtypes.int4),
    ],
)
def test_weights_of_every_type_arrive(kind: int, dtype: object) -> None:
    data = (np.random.default_rng(1).standard_normal(SHAPE) * 3).astype("f4").astype(dtype)
    session = open_session(skeleton(kind), weights={"w": data})
    x = np.zeros(SHAPE, "f4")
    np.testing.assert_array_equal(session.run(None, {"x": x})[0], data.astype("f4"))


@pytest.mark.parametrize("form", ["transposed", "big endian", "read-only"])
def test_weights_in_odd_memory_layouts(form: str) -> None:
    data = np.random.default_rng(2).standard_normal(SHAPE).astype("f4")
    given = {"transposed": np.asfortranarray(data), "big endian": data.astype(">f4"), "read-only": data.copy()}[form]
    given.flags.writeable = False
    session = open_session(skeleton(TensorProto.FLOAT), weights={"w": given})
    np.testing.assert_array_equal(session.run(None, {"x": np.zeros(SHAPE, "f4")})[0], data)


def test_skeleton_is_bit_exact_with_the_whole_model() -> None:
    whole, light, weights = matmuls()
    x = np.random.default_rng(3).standard_normal((5, 48)).astype("f4")
    expected = ort.InferenceSession(whole, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    sessions = [open_session(light, weights={k: v.copy() for k, v in weights.items()}) for _ in range(8)]
    for session in sessions:  # nothing but the sessions holds the copies
        np.testing.assert_array_equal(session.run(None, {"x": x})[0], expected)


def test_every_session_stops_spinning() -> None:
    session = open_session(matmuls()[0], threads=2)
    assert session.get_session_options().get_session_config_entry("session.force_spinning_stop") == "1"
    assert session.get_session_options().intra_op_num_threads == 2


def test_optimized_graph_is_written(tmp_path: Path) -> None:
    _, light, weights = matmuls()
    path = tmp_path / "optimized.onnx"
    session = open_session(light, weights=weights, optimized_path=path)
    again = open_session(path)
    x = np.ones((2, 48), "f4")
    np.testing.assert_array_equal(again.run(None, {"x": x})[0], session.run(None, {"x": x})[0])


def test_opens_a_file(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(matmuls()[0])
    assert [i.name for i in open_session(path).get_inputs()] == ["x"]


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"missing\.onnx") as caught:
        open_session(tmp_path / "missing.onnx")
    assert len(str(caught.value).splitlines()) == 1


def test_not_a_model() -> None:
    with pytest.raises(ModelError, match="protobuf parsing failed"):
        open_session(b"junk" * 10)


def test_weight_the_model_does_not_have() -> None:
    _, light, weights = matmuls()
    with pytest.raises(ModelError, match="stranger"):
        open_session(light, weights={**weights, "stranger": np.zeros(3, "f4")})


def test_paths_take_no_weights(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="path"):
        open_session(tmp_path / "m.onnx", weights={"w": np.zeros(1)})


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(DeviceError, match="cuda:63"):
        open_session(matmuls()[0], device=Device(CUDA_PROVIDER, 63, "cuda:63"))


def test_explain_is_short_and_drops_source_locations() -> None:
    text = "[ONNXRuntimeError] : 1 : FAIL : /onnxruntime_src/a/b.cc:12 broken\nhere " + "x" * 1000
    assert explain(RuntimeError(text)).startswith("broken here")
    assert len(explain(RuntimeError(text))) <= 300
