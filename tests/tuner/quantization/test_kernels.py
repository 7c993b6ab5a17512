import onnx
import pytest
from autoquant.evaluators.session import open_session
from autoquant.strategies.words import LAYER
from autoquant.tuner.graph.serialize import write
from autoquant.tuner.quantization.kernels import count, integer_kernels, ran
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

from tests import zoo
from tests.tuner.quantization.building import case, zoo_case


@pytest.mark.parametrize("name", ["conv_net", "transformer", "slash_names_net", "names_net"])
def test_file_and_candidate_tell_the_same(name, tmp_path):
    made = zoo_case(name)
    candidate = made.builder.build(made.random_recipe(3))
    path = tmp_path / "model.onnx"
    write(candidate.proto, candidate.weights, path)
    assert ran(path, made.analysis) == ran(candidate, made.analysis) == dict(candidate.layers)


def test_float_model_runs_no_integer_kernel():
    made = zoo_case("conv_net")
    candidate = made.builder.build(made.recipe("fp32"))
    assert integer_kernels(candidate, made.analysis) == []
    assert set(ran(candidate, made.analysis).values()) == {"fp32"}


def test_every_layer_is_told_apart_from_its_namesakes(tmp_path):
    """Names that ONNX Runtime's own additions make alike: each is the only int8 layer once."""
    g = zoo.Sketch(1)
    last = "x"
    for name in ("conv", "conv_1", "conv_token_1", "conv_nchwc", "conv/MatMulAddFusion"):
        g.conv(last, name, 8, 8)
        last = name
    made = case(g.model([zoo.value("x", ["N", 8, 6, 6])], [zoo.value(last, ["N", 8, 6, 6])]), tmp_path)
    for layer in made.analysis.layers:
        candidate = made.builder.build(made.recipe("fp32").replace({LAYER + layer.group: "int8"}))
        assert [name for name, found in ran(candidate, made.analysis).items() if found == "int8"] == [layer.name]


def test_a_model_that_fuses_less_is_found_out(tmp_path):
    """The same Conv without the Q on its output runs in float, whatever its inputs are."""
    made = zoo_case("slash_names_net")
    candidate = made.builder.build(made.recipe())
    layer = made.analysis.layers[0]
    proto = onnx.ModelProto()
    proto.CopyFrom(candidate.proto)
    nodes = proto.graph.node
    raw = f"{layer.output}/raw"
    for node in list(nodes):
        quantizes = node.op_type == "QuantizeLinear" and node.input[0] == raw
        if quantizes or (node.op_type == "DequantizeLinear" and node.output[0] == layer.output):
            nodes.remove(node)
    for node in nodes:
        node.output[:] = [layer.output if name == raw else name for name in node.output]
    path = tmp_path / "model.onnx"
    write(proto, candidate.weights, path)
    found = ran(path, made.analysis)
    assert found[layer.name] == "fp32"
    assert "int8" in found.values()


def test_another_tools_model_is_read_too(tmp_path):
    proto = zoo.conv_net()
    made = zoo_case("conv_net")
    plain = tmp_path / "plain.onnx"
    write(made.model.proto, made.model.weights, plain)

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.rest = iter(zoo.feeds(proto))

        def get_next(self):
            return next(self.rest, None)

    quantize_static(
        plain, tmp_path / "theirs.onnx", Reader(), activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8
    )
    found = ran(tmp_path / "theirs.onnx", made.analysis)
    assert sum(precision == "int8" for precision in found.values()) >= 4


def test_count():
    rare = count({"a": "int4", "b": "int16", "c": "fp32"}, 5)
    assert rare == {"total": 5, "int8": 0, "int16": 1, "int4": 1, "fp16": 0, "fp32": 3}
    assert count({"a": "int8", "b": "fp32", "c": "int8"}) == {"total": 3, "int8": 2, "fp16": 0, "fp32": 1}


def test_unfused_sessions_run_q_and_dq_as_they_stand(tmp_path):
    made = zoo_case("conv_net")
    candidate = made.builder.build(made.recipe())
    path = tmp_path / "model.onnx"
    write(candidate.proto, candidate.weights, path)
    kinds = {}
    for fused in (True, False):
        optimized = tmp_path / f"{fused}.onnx"
        open_session(path, fused=fused, disabled_optimizers=["WeightBiasQuantization"], optimized_path=optimized)
        kinds[fused] = {node.op_type for node in onnx.load(optimized, load_external_data=False).graph.node}
    assert "QLinearConv" in kinds[True]
    assert "QLinearConv" not in kinds[False]
    assert "QuantizeLinear" in kinds[False]
