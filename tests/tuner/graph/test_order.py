from __future__ import annotations

from pathlib import Path

import pytest
from autoquant.errors import ModelError
from autoquant.tuner.graph.order import sort_nodes

from tests import zoo
from tests.tuner.graph.running import load_proto


def test_a_sorted_graph_is_not_touched() -> None:
    for build in zoo.ALL.values():
        proto = build()
        before = proto.SerializeToString()
        assert not sort_nodes(proto.graph, "m.onnx")
        assert proto.SerializeToString() == before


@pytest.mark.parametrize("name", zoo.ALL)
def test_sorting_puts_writers_first(name: str) -> None:
    proto = zoo.ALL[name]()
    nodes = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend(reversed(nodes))
    assert sort_nodes(proto.graph, "m.onnx") == (len(nodes) > 1)
    assert not sort_nodes(proto.graph, "m.onnx")
    assert sorted(node.name for node in proto.graph.node) == sorted(node.name for node in nodes)


def test_a_cycle(tmp_path: Path) -> None:
    g = zoo.Sketch()
    g.add("Add", ["x", "b"], "a")
    g.add("Relu", ["a"], "b")
    proto = zoo.nothing_net()
    del proto.graph.node[:]
    proto.graph.node.extend(g.nodes)
    proto.graph.output[0].name = "b"
    with pytest.raises(ModelError, match="corrupt: its nodes form a cycle"):
        load_proto(proto, tmp_path)


def test_a_tensor_nobody_writes(tmp_path: Path) -> None:
    proto = zoo.conv_net()
    proto.graph.node[3].input[0] = "ghost"
    with pytest.raises(ModelError, match="Conv 'depthwise' reads tensor 'ghost', which nothing writes"):
        load_proto(proto, tmp_path)


def test_a_tensor_a_body_reads_and_nobody_writes(tmp_path: Path) -> None:
    proto = zoo.if_net()
    del proto.graph.initializer[:]
    with pytest.raises(ModelError, match="which nothing writes"):
        load_proto(proto, tmp_path)


def test_a_tensor_written_twice(tmp_path: Path) -> None:
    proto = zoo.conv_net()
    proto.graph.node.append(proto.graph.node[-1])
    with pytest.raises(ModelError, match="tensor 'y' is written twice"):
        load_proto(proto, tmp_path)


def test_an_output_nobody_writes(tmp_path: Path) -> None:
    proto = zoo.conv_net()
    proto.graph.output[0].name = "z"
    with pytest.raises(ModelError, match="nothing writes its output 'z'"):
        load_proto(proto, tmp_path)
