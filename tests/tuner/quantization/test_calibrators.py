"""A layer's own calibrator governs the ranges of what it reads."""

import json

import pytest
from autoquant.errors import OptionError
from autoquant.strategies.words import CALIBRATOR, CALIBRATOR_OF, LAYER
from autoquant.tuner.graph.analysis import Analysis, Layer
from autoquant.tuner.quantization.builder import Builder
from autoquant.tuner.quantization.calibrators import Calibrators
from autoquant.tuner.quantization.recipefile import from_json, to_json

from tests.tuner.quantization.building import differences, zoo_case


def layer(name: str, *inputs: str, group: str = "") -> Layer:
    return Layer(name, "MatMul", 0, (), inputs, f"{name}/out", "w", 1, 1, None, group or name, None)


LAYERS = (layer("a", "x"), layer("b", "x", "y"), layer("c", "y", group="a"))
FOUND = Calibrators(Analysis(LAYERS, (), (), ("x", "y")))
INT8 = {LAYER + name: "int8" for name in "ab"} | {CALIBRATOR: "minmax"}


def test_a_tensor_has_the_calibrator_of_the_first_int8_reader_that_has_one():
    assert FOUND.of("x", {**INT8, "calibrator/b": "mse"}) == "mse"
    assert FOUND.of("x", {**INT8, "calibrator/a": "entropy", "calibrator/b": "mse"}) == "entropy"
    assert FOUND.of("x", {**INT8, "calibrator/a": "inherit", "calibrator/b": "mse"}) == "mse"
    assert FOUND.of("x", {**INT8, LAYER + "a": "fp32", "calibrator/a": "entropy", "calibrator/b": "mse"}) == "mse"


def test_others_are_of_the_recipe_s_calibrator():
    assert FOUND.of("a/out", {**INT8, "calibrator/a": "mse"}) == "minmax"
    assert FOUND.of("x", INT8) == "minmax"
    assert FOUND.of("x", {}) == "minmax"


def test_a_group_decides_for_all_its_members_inputs():
    assert FOUND.of("y", {**INT8, "calibrator/a": "mse"}) == "mse"


@pytest.mark.parametrize("name", ["conv_net", "transformer", "shared_weight_net"])
def test_only_what_the_layer_reads_changes(name):
    made = zoo_case(name)
    recipe = made.recipe()
    before = made.builder.build(recipe)
    for chosen in made.analysis.layers[:4]:
        own = recipe.replace({CALIBRATOR_OF + chosen.group: "mse"})
        after = made.builder.build(own)
        group = made.analysis.groups[chosen.group]
        read = {tensor for member in group for tensor in member.inputs}
        changed = {
            tensor
            for tensor in made.analysis.tensors
            if tensor in before.quantization and before.quantization[tensor].scale != after.quantization[tensor].scale
        }
        assert changed <= read
        assert changed or all(made.builder.clips.get(tensor) for tensor in read)
        for tensor in changed:
            whole = made.builder.build(recipe.replace({CALIBRATOR: "mse"}))
            assert after.quantization[tensor].scale == whole.quantization[tensor].scale
        assert not differences(made, after)


@pytest.mark.parametrize("name", ["conv_net", "transformer"])
def test_recipe_json_replays_them_bit_for_bit(name):
    made = zoo_case(name)
    groups = [one.group for one in made.analysis.layers[:2]]
    recipe = made.recipe().replace({CALIBRATOR_OF + groups[0]: "mse", CALIBRATOR_OF + groups[1]: "inherit"})
    candidate = made.builder.build(recipe)
    data = to_json(recipe, candidate, made.analysis, made.ranges, made.builder.target, made.model.fingerprint)
    data = json.loads(json.dumps(data))
    replay = from_json(data, made.analysis, made.model.fingerprint)
    builder = Builder(made.model, made.analysis, replay.ranges, replay.target)
    assert builder.build(replay.recipe, overrides=replay.overrides).skeleton() == candidate.skeleton()

    data["parameters"][CALIBRATOR_OF + groups[0]] = "entropy"
    with pytest.raises(
        OptionError, match=rf"(?s)calibrator/{groups[0]} is not what its scales were made with.*--study"
    ):
        from_json(data, made.analysis, made.model.fingerprint)
    with_study = from_json(data, made.analysis, made.model.fingerprint, made.ranges)
    edited = made.builder.build(recipe.replace({CALIBRATOR_OF + groups[0]: "entropy"}))
    assert made.builder.build(with_study.recipe, overrides=with_study.overrides).skeleton() == edited.skeleton()
    data["parameters"][CALIBRATOR_OF + groups[0]] = "sharp"
    with pytest.raises(OptionError, match="must be one of inherit, minmax"):
        from_json(data, made.analysis, made.model.fingerprint)
