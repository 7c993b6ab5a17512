from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.measure import compare, file_bytes, kernels, open_session, rounded
from tests import zoo


def quantized_matmul(path: Path) -> Path:
    """Two MatMul, one of them between Q/DQ."""
    weights = np.random.default_rng(0).integers(-9, 9, (16, 16)).astype(np.int8)
    constants = {
        "scale": np.float32(0.1),
        "zero": np.uint8(128),
        "w": weights,
        "w_zero": np.int8(0),
        "f": weights.astype(np.float32),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "scale", "w_zero"], ["wd"]),
        helper.make_node("MatMul", ["d", "wd"], ["m"]),
        helper.make_node("Tanh", ["m"], ["t"]),
        helper.make_node("MatMul", ["t", "f"], ["y"]),
    ]
    shape = ["N", 16]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_kernels_counts_what_ran_on_integers(tmp_path: Path) -> None:
    assert kernels(quantized_matmul(tmp_path / "m.onnx")) == {"int8": 1, "float": 1}


def test_a_float_model_has_no_integer_kernels(tmp_path: Path) -> None:
    zoo.save(zoo.conv_net(), tmp_path / "m.onnx")
    counted = kernels(tmp_path / "m.onnx")
    assert counted["int8"] == 0
    assert counted["float"] > 0


def test_the_interval_holds_the_median(tmp_path: Path) -> None:
    path = quantized_matmul(tmp_path / "m.onnx")
    feed = {"x": np.ones((1, 16), np.float32)}
    timed = compare(open_session(path, 1), open_session(path, 1), feed, pairs=41)
    low, high = timed["speedup_ci"]
    assert low <= timed["speedup"] <= high
    assert timed["pairs"] == 41
    assert timed["baseline_ms"] > 0


def test_file_bytes_counts_external_data(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"12")
    assert file_bytes(tmp_path / "m.onnx") == 2
    (tmp_path / "m.onnx.data").write_bytes(b"345")
    assert file_bytes(tmp_path / "m.onnx") == 5


def test_rounded_keeps_what_is_no_float() -> None:
    assert rounded({"a": [1.23456, (7, "x", None, True)]}, 3) == {"a": [1.23, [7, "x", None, True]]}
