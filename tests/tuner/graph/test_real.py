"""The real models of AUTOQUANT_TASKS, and one of more than 2 GiB."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from autoquant.tuner.graph.analyse import analyse
from autoquant.tuner.graph.load import load
from onnx import TensorProto, helper

from tests import zoo
from tests.tuner.graph.running import difference

pytestmark = pytest.mark.slow

LAYERS = {
    "cls180": {"Conv": 53, "MatMul": 1},
    "ocr_v4": {"Conv": 38, "MatMul": 13},
    "minilm_sentiment": {"MatMul": 48},
    "effnet_lite0": {"Conv": 49, "Gemm": 1},
    "ocr_v6s": {"Conv": 57, "MatMul": 13},
}
SHAPES = {
    "cls180": {"x": (2, 3, 48, 192)},
    "ocr_v4": {"x": (2, 3, 48, 160)},
    "effnet_lite0": {"x": (2, 3, 224, 224)},
    "ocr_v6s": {"x": (2, 3, 48, 160)},
    "minilm_sentiment": {"input_ids": (2, 16), "attention_mask": (2, 16)},
}


def task(name: str) -> Path:
    folder = os.environ.get("AUTOQUANT_TASKS")
    if not folder:
        pytest.skip("AUTOQUANT_TASKS names no folder of real models")
    return Path(folder) / name / "model.onnx"


def feed(name: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    if name == "minilm_sentiment":
        ids, mask = SHAPES[name].values()
        return {"input_ids": rng.integers(0, 30000, ids), "attention_mask": np.ones(mask, np.int64)}
    return {key: rng.standard_normal(shape).astype(np.float32) for key, shape in SHAPES[name].items()}


@pytest.mark.parametrize("name", LAYERS)
def test_a_real_model_loads_computes_the_same_and_is_understood(name: str, tmp_path: Path) -> None:
    path = task(name)
    assert difference(path, tmp_path, [feed(name)]) <= 5e-6
    found = analyse(load(path))
    assert Counter(layer.op_type for layer in found.layers) == LAYERS[name]
    assert len(found.groups) == len(found.layers)
    float_ops = {refusal.op_type for refusal in found.refusals}
    assert float_ops.isdisjoint({"Conv", "MatMul", "Gemm", "BatchNormalization", "Pad", "Identity"})


def test_what_loading_folds_is_gone() -> None:
    for name, gone in (("cls180", "BatchNormalization"), ("effnet_lite0", "Pad"), ("ocr_v6s", "Identity")):
        nodes = load(task(name)).proto.graph.node
        assert gone not in {node.op_type for node in nodes}


def huge(folder: Path) -> Path:
    """9 MatMul of 256 MB: 2.25 GiB of sparse external data, which take no room on the disk."""
    side, count = 8192, 9
    tensors, nodes = [], []
    for i in range(count):
        tensor = TensorProto(name=f"w{i}", data_type=TensorProto.FLOAT, dims=[side, side])
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", "huge.data"), ("offset", i * side * side * 4), ("length", side * side * 4)):
            tensor.external_data.add(key=key, value=str(value))
        tensors.append(tensor)
        nodes.append(
            helper.make_node("MatMul", [f"h{i}" if i else "x", f"w{i}"], [f"h{i + 1}" if i < count - 1 else "y"])
        )
    graph = helper.make_graph(nodes, "huge", [zoo.value("x", ["N", side])], [zoo.value("y", ["N", side])], tensors)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
    with (folder / "huge.data").open("wb") as file:
        file.truncate(count * side * side * 4)
    return zoo.save(proto, folder / "huge.onnx")


def test_a_model_over_two_gigabytes_is_lifted_analysed_and_written(tmp_path: Path) -> None:
    path = huge(tmp_path)
    script = (
        "import sys, resource; from pathlib import Path\n"
        "from autoquant.tuner.graph.load import load\n"
        "from autoquant.tuner.graph.analyse import analyse\n"
        "from autoquant.tuner.graph.serialize import size, write\n"
        "model = load(sys.argv[1])\n"
        "assert model.opset == 17 and len(analyse(model).layers) == 9\n"
        "assert 2**31 < size(model.proto, model.weights) < 2.5e9\n"
        "write(model.proto, model.weights, Path(sys.argv[2]))\n"
        "print(int(open('/proc/self/status').read().split('RssAnon:')[1].split()[0]))\n"
    )
    out = tmp_path / "again.onnx"
    done = subprocess.run([sys.executable, "-c", script, path, out], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 400_000, "kB: weights stay on the disk"
    written = onnx.load(out, load_external_data=False)
    assert written.opset_import[0].version == 17
    assert (tmp_path / "again.onnx.data").stat().st_size == path.with_name("huge.data").stat().st_size
