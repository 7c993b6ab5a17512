import pytest
from autoquant.strategies.words import LAYER
from autoquant.tuner.quantization.cost import ops, shares

from tests.tuner.quantization.building import exported, zoo_case


def test_bit_operations_of_uniform_precisions():
    made = zoo_case("conv_net")
    names = [layer.name for layer in made.analysis.layers]
    for precision, expected in (("fp32", 1.0), ("int8", 1 / 16), ("fp16", 1 / 4)):
        assert ops(made.analysis, made.ranges.shapes, dict.fromkeys(names, precision)) == pytest.approx(expected)
    assert ops(made.analysis, made.ranges.shapes, dict.fromkeys(names, "int8"), 7) == pytest.approx(56 / 1024)


def test_a_layer_counts_by_its_multiplications():
    made = zoo_case("conv_net")
    batch, size = made.ranges.shapes["x"][0], 16 * 16
    macs = {
        "stem": batch * 8 * size * 27,
        "depthwise": batch * 8 * size * 9,
        "pointwise": batch * 8 * size * 8,
        "down": batch * 16 * size // 4 * 72,
        "y": batch * 10 * 16,
    }
    found = shares(made.analysis, made.model, made.ranges.shapes)
    assert found == pytest.approx({LAYER + name: count / sum(macs.values()) for name, count in macs.items()})
    one = dict.fromkeys(macs, "fp32") | {"down": "int8"}
    assert ops(made.analysis, made.ranges.shapes, one) == pytest.approx(1 - 15 / 16 * macs["down"] / sum(macs.values()))


def test_attention_counts_both_activations():
    made = zoo_case("transformer")
    found = shares(made.analysis, made.model, made.ranges.shapes)
    assert sum(found.values()) == pytest.approx(1)
    assert min(found.values()) > 0


def test_size_counts_a_shared_weight_once():
    made = zoo_case("shared_weight_net")
    found = shares(made.analysis, made.model, made.ranges.shapes, "size")
    weights = {"a": 4 * 4 * 9, "m1": 256, "y": 16 * 8}
    assert found == pytest.approx({LAYER + name: n / sum(weights.values()) for name, n in weights.items()})


def test_nothing_to_count():
    made = zoo_case("nothing_net")
    assert ops(made.analysis, {}, {}) == 1.0
    assert shares(made.analysis, made.model, {}) == {}


def test_without_shapes_layers_count_alike():
    made = zoo_case("conv_net")
    assert set(shares(made.analysis, made.model, {}).values()) == {0.2}
    half = {layer.name: "int8" for layer in made.analysis.layers[:2]}
    assert ops(made.analysis, {}, half) == pytest.approx((3 + 2 / 16) / 5)


def test_bytes_of_recurrent_layers_and_tables_count():
    lstm, words = exported("bilstm"), exported("words")
    found = shares(lstm.analysis, lstm.model, {}, "size")
    sizes = {"node_LSTM_0": 2 * 64 * (8 + 16), "node_LSTM_3": 2 * 64 * (32 + 16), "node_MatMul_6": 32 * 12}
    assert found == pytest.approx({f"layer/{name}": n / sum(sizes.values()) for name, n in sizes.items()})
    found = shares(words.analysis, words.model, {}, "size")
    total = 2 * 64 * 64 + 64 * 8
    assert found["table/node_Gather_0"] == found["table/node_Gather_4"] == pytest.approx(64 * 64 / total)
    assert sum(found.values()) == pytest.approx(1.0)
    assert not any(name.startswith("table/") for name in shares(words.analysis, words.model, words.ranges.shapes))


def test_operations_of_recurrent_layers():
    """4 gates · (inputs + hidden) products for each element of each state; of the last state alone likewise."""
    lstm, gru = exported("bilstm"), exported("gru")
    found = shares(lstm.analysis, lstm.model, lstm.ranges.shapes)
    counts = {name: 6 * 2 * 2 * 16 * 4 * size for name, size in (("node_LSTM_0", 24), ("node_LSTM_3", 48))}
    total = sum(counts.values()) + 6 * 2 * 32 * 12
    assert found["layer/node_LSTM_0"] == pytest.approx(counts["node_LSTM_0"] / total)
    states = shares(gru.analysis, gru.model, gru.ranges.shapes)
    assert states["layer/node_GRU_0"] / states["layer/node_RNN_2"] == pytest.approx(3 * 24 / 32)
