"""Recurrent layers, ConvTransposes and tables off the float path: `python -m benchmarks.stored`.

Three models of realistic size with drawn weights (heavy-tailed, as trained ones are): two bidirectional LSTMs of 256,
two GRUs of 256, each over 100 steps of 80 features, and a decoder of four ConvTransposes from 256 channels at 16×16 to
16 at 256×256. Every such layer in int8 (LSTM) or with its weights alone on 8 bits; the error of the outputs, the bytes
and the time against float. For MiniLM (`make tasks`) the metric with its tables alone on 8 bits, with a scale per row
and with one. Writes results/stored.json.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from autoquant.evaluators.base import Feed
from autoquant.evaluators.distance import distance, outputs
from autoquant.evaluators.evaluation import load_evaluation
from autoquant.evaluators.latency import compare
from autoquant.evaluators.session import open_session
from autoquant.strategies.base import Recipe
from autoquant.strategies.words import LAYER, TABLE, WEIGHT_GRANULARITY
from autoquant.tuner.calibration.collect import collect
from autoquant.tuner.calibration.compute import compute_ranges
from autoquant.tuner.graph.analyse import analyse
from autoquant.tuner.graph.load import load
from autoquant.tuner.quantization.builder import Builder
from autoquant.tuner.targets.profiles import get
from onnx import TensorProto, helper, numpy_helper

from .environment import default_tasks, environment, write
from .measure import rounded

STEPS, FEATURES, HIDDEN = 100, 80, 256
CHANNELS, SIDE = (256, 128, 64, 32, 16), 16
GATES = {"LSTM": 4, "GRU": 3}


def recurrent(kind: str) -> onnx.ModelProto:
    """Two bidirectional layers; x is [T, N, 80]."""
    rng = np.random.default_rng(0)
    nodes, constants, x, size = [], [], "x", FEATURES
    for i in range(2):
        rows, scale = GATES[kind] * HIDDEN, HIDDEN**-0.5
        for name, shape in ((f"w{i}", (2, rows, size)), (f"r{i}", (2, rows, HIDDEN))):
            drawn = rng.laplace(scale=0.5 * scale, size=shape).astype(np.float32)
            constants.append(numpy_helper.from_array(drawn, name))
        constants.append(numpy_helper.from_array(np.array([0, 0, -1]), f"shape{i}"))
        nodes += [
            helper.make_node(kind, [x, f"w{i}", f"r{i}"], [f"y{i}"], hidden_size=HIDDEN, direction="bidirectional"),
            helper.make_node("Transpose", [f"y{i}"], [f"t{i}"], perm=[0, 2, 1, 3]),
            helper.make_node("Reshape", [f"t{i}", f"shape{i}"], [f"z{i}"]),
        ]
        x, size = f"z{i}", 2 * HIDDEN
    return _model(nodes, constants, ["T", "N", FEATURES], x)


def decoder() -> onnx.ModelProto:
    """Four ConvTransposes of stride 2, each with its Relu."""
    rng = np.random.default_rng(0)
    nodes, constants, x = [], [], "x"
    for i, (a, b) in enumerate(pairwise(CHANNELS)):
        drawn = rng.laplace(scale=(a * 4.0) ** -0.5, size=(a, b, 4, 4)).astype(np.float32)
        constants.append(numpy_helper.from_array(drawn, f"w{i}"))
        nodes.append(helper.make_node("ConvTranspose", [x, f"w{i}"], [f"u{i}"], strides=[2, 2], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"u{i}"], [f"z{i}"]))
        x = f"z{i}"
    return _model(nodes, constants, ["N", CHANNELS[0], SIDE, SIDE], x)


def _model(
    nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto], shape: list[int | str], output: str
) -> onnx.ModelProto:
    read = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    written = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "model", [read], [written], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def measured(path: Path, feeds: list[Feed], precisions: tuple[str, ...], threads: int) -> Iterator[dict[str, Any]]:
    """Each precision of all layers against the float file."""
    model = load(path)
    analysis = analyse(model)
    ranges = compute_ranges(collect(model, analysis.tensors, feeds, open_session=open_session))
    builder = Builder(model, analysis, ranges, get("cpu"))
    floats = open_session(path, threads=threads)
    wanted = outputs(floats, feeds)
    for precision in precisions:
        candidate = builder.build(Recipe({LAYER + group: precision for group in analysis.groups}))
        session = open_session(candidate.skeleton(), weights=candidate.weights, threads=threads)
        latency = compare(floats, session, feeds[0], pairs=21)
        yield {
            "precision": precision,
            "relative_error": distance(wanted, outputs(session, feeds)) ** 0.5,
            "bytes": candidate.size_bytes,
            "float_bytes": model.source_bytes,
            "float_ms": latency.baseline_ms,
            "ms": latency.candidate_ms,
            "speedup": latency.speedup,
            "speedup_ci": list(latency.speedup_ci),
        }


def tables(folder: Path, threads: int) -> list[dict[str, Any]]:
    """MiniLM with nothing but its tables on 8 bits."""
    path = folder / "model.onnx"
    evaluation = load_evaluation(str(folder / "eval.py"), model_path=path)
    model = load(path)
    analysis = analyse(model)
    given = evaluation.calibration()
    assert given is not None
    first = next(iter(given))
    ranges = compute_ranges(collect(model, (), [first], open_session=open_session))
    builder = Builder(model, analysis, ranges, get("cpu"))

    def score(session: ort.InferenceSession) -> float:
        assert evaluation.num_samples is not None
        return float(np.mean(evaluation.score_some(session, np.arange(evaluation.num_samples))))

    floats = open_session(path, threads=threads)
    found = [{"tables": "float", "metric": score(floats), "bytes": model.source_bytes}]
    for granularity in ("per_channel", "per_tensor"):
        chosen = {TABLE + table.name: "weight8" for table in analysis.tables}
        candidate = builder.build(Recipe({WEIGHT_GRANULARITY: granularity, **chosen}))
        session = open_session(candidate.skeleton(), weights=candidate.weights, threads=threads)
        found.append(
            {
                "tables": "a scale per row" if granularity == "per_channel" else "one scale",
                "metric": score(session),
                "relative_error": distance(outputs(floats, [first]), outputs(session, [first])) ** 0.5,
                "bytes": candidate.size_bytes,
                "speedup": compare(floats, session, first, pairs=11).speedup,
            }
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tasks", type=Path, default=default_tasks())
    arguments = parser.parse_args()
    rng = np.random.default_rng(1)
    figures: dict[str, Any] = {"threads": arguments.threads, "models": {}}
    for name, proto, precisions in (
        ("2 BiLSTM 256", recurrent("LSTM"), ("int8", "weight8")),
        ("2 BiGRU 256", recurrent("GRU"), ("weight8",)),
        ("4 ConvTranspose", decoder(), ("weight8",)),
    ):
        shape = [STEPS, 1, FEATURES] if "Conv" not in name else [1, CHANNELS[0], SIDE, SIDE]
        feeds: list[Feed] = [{"x": rng.standard_normal(shape).astype(np.float32)} for _ in range(4)]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            onnx.save(proto, path)
            figures["models"][name] = list(measured(path, feeds, precisions, arguments.threads))
        print(name, figures["models"][name], flush=True)
    if (arguments.tasks / "minilm_sentiment" / "eval.py").exists():
        figures["minilm_sentiment"] = tables(arguments.tasks / "minilm_sentiment", arguments.threads)
        print(figures["minilm_sentiment"], flush=True)
    write("stored", rounded({**environment(), **figures}))


if __name__ == "__main__":
    main()
