import copy
import json

import pytest
from autoquant.errors import OptionError
from autoquant.strategies.words import CALIBRATOR, LAYER
from autoquant.tuner.quantization.builder import Builder
from autoquant.tuner.quantization.recipefile import from_json, to_json

from tests.tuner.quantization.building import differences, distance, zoo_case


def written(made, recipe):
    candidate = made.builder.build(recipe)
    data = to_json(recipe, candidate, made.analysis, made.ranges, made.builder.target, made.model.fingerprint)
    return candidate, json.loads(json.dumps(data))


def rebuilt(made, data, ranges=None):
    replay = from_json(data, made.analysis, made.model.fingerprint, ranges)
    builder = Builder(made.model, made.analysis, replay.ranges, replay.target)
    return builder.build(replay.recipe, overrides=replay.overrides)


@pytest.mark.parametrize("name", ["conv_net", "transformer", "hardswish_net", "shared_weight_net"])
@pytest.mark.parametrize("seed", range(3))
def test_replay_is_bit_equal(name, seed):
    made = zoo_case(name)
    candidate, data = written(made, made.random_recipe(seed))
    again = rebuilt(made, data)
    assert again.skeleton() == candidate.skeleton()
    assert again.weights.keys() == candidate.weights.keys()
    assert all((again.weights[name] == candidate.weights[name]).all() for name in candidate.weights)


def test_holds_every_tensor_and_constant():
    made = zoo_case("conv_net")
    candidate, data = written(made, made.recipe())
    assert data["activations"].keys() == set(made.analysis.tensors)
    assert {layer.weight for layer in made.analysis.layers} <= data["constants"].keys()
    assert data["weight_bits"] == made.builder.target.weight_bits
    assert candidate.quantization.keys() == {*data["constants"], *candidate.quantization.keys() & data["activations"]}


@pytest.mark.parametrize("name", ["conv_net", "transformer"])
def test_a_float_layer_can_be_switched_on_by_hand(name):
    made = zoo_case(name)
    _, data = written(made, made.recipe("fp32"))
    group = made.analysis.layers[0].group
    data["parameters"][LAYER + group] = "int8"
    candidate = rebuilt(made, data)
    assert candidate.layers[made.analysis.layers[0].name] == "int8"
    assert not differences(made, candidate)
    assert candidate.skeleton() == made.builder.build(made.recipe("fp32").replace({LAYER + group: "int8"})).skeleton()


def test_an_edited_scale_is_used():
    made = zoo_case("transformer")
    candidate, data = written(made, made.recipe())
    tensor = made.analysis.layers[0].inputs[0]
    data["activations"][tensor] |= {"scale": 0.5, "zero_point": 7}
    edited = rebuilt(made, data)
    assert float(edited.quantization[tensor].scale) == 0.5
    assert int(edited.quantization[tensor].zero_point) == 7
    assert distance(made.outputs(candidate), made.outputs(edited)) > 0


def test_another_calibrator_needs_the_study():
    made = zoo_case("conv_net")
    _, data = written(made, made.recipe())
    data["parameters"][CALIBRATOR] = "entropy"
    with pytest.raises(OptionError, match="--study"):
        rebuilt(made, data)
    candidate = rebuilt(made, data, made.ranges)
    assert candidate.skeleton() == made.builder.build(made.recipe(activation_calibrator="entropy")).skeleton()


@pytest.mark.parametrize(
    ("path", "value", "match"),
    [
        (["format"], "something", "format"),
        (["model"], "0" * 64, "another model"),
        (["parameters"], [], "parameters"),
        (["parameters", "layer/none"], "int8", "layer/none"),
        (["parameters", "weight/granularity"], "per_row", "per_channel"),
        (["weight_bits"], 9, "weight_bits"),
        (["target"], "toaster", "toaster"),
        (["activations", "x", "scale"], 0, "above 0"),
        (["activations", "x", "scale"], "wide", "above 0"),
        (["activations", "x", "zero_point"], 256, "0 to 255"),
        (["activations", "x"], 3, "above 0"),
    ],
)
def test_impossible_values_are_refused(path, value, match):
    made = zoo_case("conv_net")
    _, data = written(made, made.recipe())
    broken = copy.deepcopy(data)
    *folders, last = path
    inner = broken
    for key in folders:
        inner = inner[key]
    inner[last] = value
    with pytest.raises(OptionError, match=match) as caught:
        rebuilt(made, broken)
    assert len(str(caught.value).splitlines()) <= 2


def test_anything_but_an_object_is_no_recipe():
    made = zoo_case("conv_net")
    with pytest.raises(OptionError, match="no recipe"):
        from_json([1, 2], made.analysis, made.model.fingerprint)
