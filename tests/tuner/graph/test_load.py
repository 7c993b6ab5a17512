from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from autoquant.errors import ModelError
from autoquant.tuner.graph.analyse import analyse
from autoquant.tuner.graph.load import load
from autoquant.tuner.graph.model import INLINE_BYTES
from autoquant.tuner.graph.tensors import is_stub
from onnx import TensorProto, helper, numpy_helper

from tests import zoo
from tests.tuner.graph.running import check, difference, full, load_proto, ops, run, session


@pytest.mark.parametrize("name", zoo.ALL)
def test_the_loaded_model_computes_the_same(name: str, tmp_path: Path) -> None:
    model = check(zoo.ALL[name](), tmp_path, tolerance=2e-3 if name == "half_net" else 5e-6)
    assert model.opset >= 13
    onnx.checker.check_model(tmp_path / "again.onnx", full_check=True)


@pytest.mark.parametrize("name", zoo.ALL)
def test_loading_again_what_was_written_changes_nothing_more(name: str, tmp_path: Path) -> None:
    once = full(load_proto(zoo.ALL[name](), tmp_path))
    (tmp_path / "once.onnx").write_bytes(once)
    assert full(load(tmp_path / "once.onnx")) == once


@pytest.mark.parametrize("name", zoo.ALL)
def test_inputs_and_outputs_keep_names_and_types(name: str, tmp_path: Path) -> None:
    proto = zoo.ALL[name]()
    before, after = session(proto.SerializeToString()), session(full(load_proto(proto, tmp_path)))
    for mine, theirs in ((before.get_inputs(), after.get_inputs()), (before.get_outputs(), after.get_outputs())):
        assert [(x.name, x.type, x.shape) for x in mine] == [(x.name, x.type, x.shape) for x in theirs]


@pytest.mark.parametrize("name", zoo.ALL)
def test_large_constants_live_beside_the_graph(name: str, tmp_path: Path) -> None:
    model = load_proto(zoo.ALL[name](), tmp_path)
    for tensor in model.proto.graph.initializer:
        assert is_stub(tensor) == (tensor.name in model.weights)
        if tensor.name in model.weights:
            assert tuple(tensor.dims) == model.weights[tensor.name].shape
            assert model.weights[tensor.name].nbytes > INLINE_BYTES
            assert not tensor.raw_data
        else:
            assert numpy_helper.to_array(tensor).nbytes <= INLINE_BYTES
    assert "Constant" not in ops(model)


def test_every_node_has_a_name_of_its_own(tmp_path: Path) -> None:
    for build in (zoo.names_net, zoo.duplicate_names_net):
        names = [node.name for node in load_proto(build(), tmp_path).proto.graph.node]
        assert all(names)
        assert len(set(names)) == len(names)


def test_duplicate_node_names_are_mended_so_that_onnxruntime_runs_the_model(tmp_path: Path) -> None:
    proto = zoo.duplicate_names_net()
    with pytest.raises(Exception, match="same node name"):
        session(proto.SerializeToString())
    model = load_proto(proto, tmp_path)
    assert [node.name for node in model.proto.graph.node][::2] == ["first", "MatMul:b", "MatMul:c", "last"]
    assert model.notes == ("2 nodes shared a name and were renamed.",)
    run(full(model), zoo.feeds(proto))


def test_weights_listed_as_inputs_become_constants(tmp_path: Path) -> None:
    model = check(zoo.input_weight_net(), tmp_path)
    assert [value.name for value in model.proto.graph.input] == ["x"]
    assert "4 weights were listed as graph inputs too; they are constants now." in model.notes


def test_fingerprint_is_the_file_s_sha256(tmp_path: Path) -> None:
    path = zoo.save(zoo.conv_net(), tmp_path / "m.onnx")
    model = load(path)
    assert model.fingerprint == hashlib.sha256(path.read_bytes()).hexdigest()
    assert model.source_bytes == path.stat().st_size
    assert model.path == path


def test_external_data(tmp_path: Path) -> None:
    path = zoo.external(zoo.transformer(), tmp_path / "m.onnx")
    assert difference(path, tmp_path, zoo.feeds(zoo.transformer())) == 0.0
    model = load(str(path))
    assert model.source_bytes == sum(file.stat().st_size for file in (path, tmp_path / "m.onnx.data"))
    assert any(not array.flags.owndata for array in model.weights.values())


def test_a_link_to_a_model_finds_the_data_beside_its_target(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    target = zoo.external(zoo.transformer(), tmp_path / "store" / "m.onnx")
    (tmp_path / "link.onnx").symlink_to(target)
    assert full(load(tmp_path / "link.onnx")) == full(load(target))


def test_the_fingerprint_sees_a_changed_external_file(tmp_path: Path) -> None:
    path = zoo.external(zoo.transformer(), tmp_path / "m.onnx")
    before = load(path).fingerprint
    data = bytearray((tmp_path / "m.onnx.data").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "m.onnx.data").write_bytes(data)
    assert load(path).fingerprint != before


def test_external_data_at_an_odd_offset(tmp_path: Path) -> None:
    proto = zoo.nothing_net()
    weight = np.arange(1024, dtype=np.float32)
    (tmp_path / "w").write_bytes(b"odd" + weight.tobytes())
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1024], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="w")
    tensor.external_data.add(key="offset", value="3")
    proto.graph.initializer.append(tensor)
    proto.graph.node.append(helper.make_node("ReduceSum", ["w"], ["total"]))
    proto.graph.output.append(zoo.value("total", [1]))
    model = load_proto(proto, tmp_path)
    np.testing.assert_array_equal(model.weights["w"], weight)
    assert model.weights["w"].flags.aligned


def test_external_data_in_a_body_and_in_an_attribute_come_along(tmp_path: Path) -> None:
    array = np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8)
    (tmp_path / "w").write_bytes(array.tobytes())

    def outside(name: str) -> TensorProto:
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[8, 8], data_location=TensorProto.EXTERNAL)
        tensor.external_data.add(key="location", value="w")
        return tensor

    proto = zoo.if_net()
    branches = next(node for node in proto.graph.node if node.op_type == "If").attribute
    then = next(branch.g for branch in branches if branch.name == "then_branch")
    then.initializer.append(outside("own.w"))
    then.node[0].input[1] = "own.w"
    proto.graph.node.insert(0, helper.make_node("Constant", [], ["const.w"], value=outside("const.w")))
    proto.graph.node[1].input[1] = "const.w"
    path = zoo.save(proto, tmp_path / "m.onnx")
    outputs = run(full(load(path)), zoo.feeds(proto))
    assert all(np.isfinite(out[0]).all() for out in outputs)
    assert difference(path, tmp_path, zoo.feeds(proto)) == 0.0


@pytest.mark.parametrize("kind", [TensorProto.BFLOAT16, TensorProto.INT4, TensorProto.FLOAT8E4M3FN])
def test_types_numpy_lacks_stay_in_the_graph(kind: int, tmp_path: Path) -> None:
    proto = zoo.nothing_net()
    array = np.ones(4096, dtype=helper.tensor_dtype_to_np_dtype(kind))
    proto.graph.initializer.append(numpy_helper.from_array(array, "odd"))
    proto.graph.node.append(helper.make_node("Cast", ["odd"], ["cast"], to=TensorProto.FLOAT))
    proto.graph.node.append(helper.make_node("ReduceSum", ["cast"], ["total"]))
    proto.graph.output.append(zoo.value("total", [1]))
    proto.opset_import[0].version = 21
    proto.ir_version = 10
    model = load_proto(proto, tmp_path)
    assert "odd" not in model.weights
    path = zoo.external(proto, tmp_path / "external.onnx")
    assert full(load(path)) == full(model)


def test_strings_survive(tmp_path: Path) -> None:
    g = zoo.Sketch()
    g.add("Tanh", ["x"], "y")
    words = helper.make_tensor("words", TensorProto.STRING, [300], [b"word %d" % i for i in range(300)])
    g.nodes.append(helper.make_node("Constant", [], ["words"], value=words))
    g.add("Shape", ["words"], "n")
    proto = g.model([zoo.value("x", [1])], [zoo.value("y", [1]), zoo.value("n", [1], TensorProto.INT64)])
    assert check(proto, tmp_path).weights == {}


def test_local_functions_are_inlined(tmp_path: Path) -> None:
    g = zoo.Sketch(1)
    g.weight("a.w", 8, 32), g.weight("b.w", 32, 8)
    g.nodes.append(helper.make_node("Block", ["x", "a.w"], ["h"], domain="local"))
    g.nodes.append(helper.make_node("Block", ["h", "b.w"], ["y"], domain="local"))
    body = [
        helper.make_node("MatMul", ["p", "q"], ["m"], name="mm"),
        helper.make_node("Relu", ["m"], ["r"], name="relu"),
    ]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    function = helper.make_function("local", "Block", ["p", "q"], ["r"], body, opsets[:1])
    graph = helper.make_graph(g.nodes, "zoo", [zoo.value("x", ["N", 8])], [zoo.value("y", ["N", 8])], g.initializers)
    proto = helper.make_model(graph, opset_imports=opsets, functions=[function], ir_version=8)
    model = check(proto, tmp_path)
    assert ops(model) == ["MatMul", "Relu", "MatMul", "Relu"]
    assert not model.proto.functions
    assert model.notes == ("1 local function inlined.",)


def test_metadata_survives_a_lift(tmp_path: Path) -> None:
    proto = zoo.constant_weight_net()
    proto.metadata_props.add(key="character", value="abc")
    model = load_proto(proto, tmp_path)
    assert [(entry.key, entry.value) for entry in model.proto.metadata_props] == [("character", "abc")]


def test_a_partly_quantized_model_is_left_as_it_is_and_said_so(tmp_path: Path) -> None:
    proto = zoo.quantized_net()
    model = check(proto, tmp_path, tolerance=0.0)
    assert ops(model) == [node.op_type for node in proto.graph.node]
    assert any("quantized already" in note for note in model.notes)


def test_what_nobody_reads_is_dropped(tmp_path: Path) -> None:
    proto = zoo.conv_net()
    proto.graph.node.append(helper.make_node("MatMul", ["flat", "dead.w"], ["dead"], name="dead"))
    proto.graph.initializer.append(numpy_helper.from_array(np.zeros((16, 64), np.float32), "dead.w"))
    proto.graph.value_info.append(zoo.value("dead", ["N", 64]))
    model = check(proto, tmp_path)
    assert "MatMul" not in ops(model)
    assert "dead.w" not in model.weights
    assert not model.proto.graph.value_info


def test_wrong_declared_shapes_do_not_matter(tmp_path: Path) -> None:
    proto = zoo.conv_net()
    proto.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 99
    proto.graph.value_info.append(zoo.value("pool", ["N", 5]))
    check(proto, tmp_path)


def test_the_order_of_nodes_is_mended(tmp_path: Path) -> None:
    proto = zoo.transformer()
    nodes = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend(reversed(nodes))
    model = load_proto(proto, tmp_path)
    sound = load_proto(zoo.transformer(), tmp_path)
    before, after = run(full(sound), zoo.feeds(proto)), run(full(model), zoo.feeds(proto))
    np.testing.assert_array_equal([b[0] for b in before], [a[0] for a in after])
    onnx.checker.check_model(full(model))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"hello world, this is no model\n", "is not an ONNX model"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "Git LFS pointer.*git lfs pull"),
        (b"PK\x03\x04" + bytes(100), "zip archive"),
        (b"\x1c\0\0\0TFL3" + bytes(50), "TensorFlow Lite"),
        (b"\x08\x08", "not an ONNX model|corrupt"),
        (b"\x08\x08" + b"\xff" * 40, "corrupt"),
    ],
)
def test_files_that_are_no_models(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=words) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.999])
def test_a_file_cut_short(share: float, tmp_path: Path) -> None:
    data = zoo.conv_net().SerializeToString()
    path = tmp_path / "m.onnx"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ModelError, match="corrupt"):
        load(path)


def test_no_such_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"No such file: .*nothing.onnx"):
        load(tmp_path / "nothing.onnx")
    with pytest.raises(ModelError, match=r"is a folder. Give the path of the .onnx file"):
        load(tmp_path)


def test_a_graph_without_nodes(tmp_path: Path) -> None:
    proto = zoo.nothing_net()
    del proto.graph.node[:]
    with pytest.raises(ModelError, match="no nodes"):
        load_proto(proto, tmp_path)


def test_data_that_do_not_fit_their_shape(tmp_path: Path) -> None:
    proto = zoo.conv_net()
    proto.graph.initializer[-1].raw_data = b"123"
    with pytest.raises(ModelError, match="corrupt"):
        load_proto(proto, tmp_path)
    proto = zoo.transformer()
    large = max(proto.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    large.raw_data = large.raw_data[:-4]
    with pytest.raises(ModelError, match=f"corrupt.*'{large.name}'"):
        load_proto(proto, tmp_path)


def test_missing_external_data_are_named(tmp_path: Path) -> None:
    path = zoo.external(zoo.transformer(), tmp_path / "m.onnx", "weights.bin")
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(ModelError, match=r"External data missing: m.onnx keeps weights in .*weights.bin"):
        load(path)


def test_external_data_cut_short(tmp_path: Path) -> None:
    path = zoo.external(zoo.transformer(), tmp_path / "m.onnx")
    data = tmp_path / "m.onnx.data"
    data.write_bytes(data.read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"m.onnx.data has 1,000.*Copy the file again"):
        load(path)


@pytest.mark.parametrize("location", ["../other", "/etc/passwd", ""])
def test_external_data_outside_the_folder(location: str, tmp_path: Path) -> None:
    path = zoo.external(zoo.transformer(), tmp_path / "m.onnx")
    proto = onnx.load(path, load_external_data=False)
    for tensor in filter(is_stub, proto.graph.initializer):
        tensor.external_data[0].value = location
    with pytest.raises(ModelError, match="outside the model's folder"):
        load(zoo.save(proto, path))


def test_a_negative_or_absurd_offset(tmp_path: Path) -> None:
    path = zoo.external(zoo.transformer(), tmp_path / "m.onnx")
    for offset in ("-8", "many", str(1 << 62)):
        proto = onnx.load(path, load_external_data=False)
        entry = next(
            entry for entry in next(filter(is_stub, proto.graph.initializer)).external_data if entry.key == "offset"
        )
        entry.value = offset
        with pytest.raises(ModelError, match=r"External data|corrupt"):
            load(zoo.save(proto, tmp_path / "odd.onnx"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["conv_net", "if_net", "constant_weight_net"])
def test_flipped_bytes_are_an_error_of_the_file_or_none(name: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    data = zoo.ALL[name]().SerializeToString()
    path, refused = tmp_path / "m.onnx", 0
    for _ in range(150):
        flipped = bytearray(data)
        for position in rng.integers(len(data), size=3):
            flipped[position] = rng.integers(256)
        path.write_bytes(flipped)
        try:
            analyse(load(path))
        except ModelError:
            refused += 1
    assert refused > 10
