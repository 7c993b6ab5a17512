from collections.abc import Mapping

import pytest
from autoquant.errors import ModelError, OptionError
from autoquant.strategies.base import Space
from autoquant.strategies.words import CALIBRATOR, CALIBRATORS, PRECISIONS
from autoquant.tuner.graph.analysis import Analysis, Glue, Layer
from autoquant.tuner.study.space import build_space, distributions
from autoquant.tuner.targets.base import Target
from hypothesis import given
from hypothesis import strategies as st

CPU = Target(
    name="cpu",
    precisions=("int8", "fp32"),
    activation={"asymmetric": "uint8", "symmetric": "uint8"},
    weight={"asymmetric": "uint8", "symmetric": "int8"},
    weight_bits=8,
    bias="int32",
    layers={"Conv": True, "MatMul": False},
    glue=("Add", "Concat"),
    symmetries=("asymmetric", "symmetric"),
)
TENSORS = {"x", "a", "b", "c", "d", "e"}


def layer(name: str, op_type: str = "Conv", inputs: tuple[str, ...] = ("x",), output: str = "a", group: str = ""):
    return Layer(name, op_type, 0, (), inputs, output, "w", 1, 0, None, group or name, None)


def glue(op_type: str, inputs: tuple[str, ...] = ("a", "b"), outputs: tuple[str, ...] = ("c",)):
    return Glue(f"{op_type}_0", op_type, 0, False, inputs, (), outputs)


ANALYSIS = Analysis(
    layers=(
        layer("stem/Conv"),
        layer("body/Conv_1", inputs=("a",), output="b"),
        layer("embed", "MatMul", inputs=("b",), output="c", group="embed"),
        layer("unembed", "MatMul", inputs=("d",), output="e", group="embed"),
        layer("up", "ConvTranspose", inputs=("c",), output="d"),
    ),
    glue=(glue("Add"), glue("Sub"), glue("Concat", outputs=("never seen",))),
    refusals=(),
    tensors=tuple(sorted(TENSORS)),
)


def build(**options) -> Space:
    return build_space(ANALYSIS, CPU, **({"calibrated": TENSORS} | options))


def test_parameters_in_order_with_all_choices():
    space = build()
    assert list(space.choices) == [
        "activation/calibrator",
        "activation/symmetry",
        "weight/granularity",
        "weight/symmetry",
        "weight/range",
        "correction/rounding",
        "correction/bias",
        "correction/equalization",
        "correction/smooth",
        "op/Add",
        "op/Sub",
        "op/Concat",
        "layer/stem/Conv",
        "layer/body/Conv_1",
        "layer/embed",
        "layer/up",
        "calibrator/stem/Conv",
        "calibrator/body/Conv_1",
        "calibrator/embed",
        "calibrator/up",
    ]
    assert list(space.offered) == list(space.choices)
    assert space.choices["layer/up"] == PRECISIONS
    assert space.choices[CALIBRATOR] == CALIBRATORS


def test_layers_have_calibrators_of_their_own_where_asked_for():
    usual, asked = build(), build(per_layer_calibrators=True)
    own = ("inherit", *CALIBRATORS)
    assert usual.choices == asked.choices  # the study goes on, whatever is asked
    assert {usual.choices[name] for name in usual.choices if name.startswith("calibrator/")} == {own}
    assert usual.calibrators == ()
    assert asked.calibrators == ("calibrator/stem/Conv", "calibrator/body/Conv_1", "calibrator/embed")
    assert asked.offered["calibrator/up"] == ("inherit",)  # no integer kernel reads anything there


def test_a_layer_s_calibrator_can_be_fixed():
    space = build(fix={"calibrator/unembed": "mse", "calibrator/stem/Conv": "entropy"})
    assert space.offered["calibrator/embed"] == ("mse",)  # named by a member of its group
    assert space.offered["calibrator/stem/Conv"] == ("entropy",)
    assert space.default()["calibrator/stem/Conv"] == "entropy"
    with pytest.raises(OptionError, match="must be one of inherit, minmax"):
        build(fix={"calibrator/embed": "sharp"})


def test_offered_is_what_the_target_runs():
    space = build()
    assert space.offered["layer/stem/Conv"] == ("int8", "fp32")
    assert space.offered["layer/up"] == ("fp32",)
    assert space.offered["op/Add"] == ("int8", "fp32")
    assert space.offered["op/Sub"] == ("fp32",)
    assert space.offered["weight/symmetry"] == ("symmetric", "asymmetric")


def test_what_was_never_calibrated_stays_float():
    space = build()
    assert space.offered["op/Concat"] == ("fp32",)
    # a Conv needs the range of its output too, a MatMul does not
    assert build(calibrated=TENSORS - {"b"}).offered["layer/body/Conv_1"] == ("fp32",)
    assert build(calibrated=TENSORS - {"e"}).offered["layer/embed"] == ("int8", "fp32")
    assert build(calibrated=TENSORS - {"d"}).offered["layer/embed"] == ("fp32",)


def test_choices_do_not_depend_on_target_or_options():
    other = Target(
        **({f: getattr(CPU, f) for f in CPU.__dataclass_fields__} | {"precisions": ("int8", "fp16", "fp32")})
    )
    space = build_space(ANALYSIS, other, calibrated=TENSORS, keep_float=["stem"], fix={CALIBRATOR: "mse"})
    assert space.choices == build().choices
    assert space.offered["layer/stem/Conv"] == ("fp16", "fp32")


def test_keep_float_takes_the_whole_group():
    space = build(keep_float=["^unembed$", "stem"])
    assert space.offered["layer/embed"] == ("fp32",)
    assert space.offered["layer/stem/Conv"] == ("fp32",)
    assert space.offered["layer/body/Conv_1"] == ("int8", "fp32")
    assert space.offered["op/Add"] == ("int8", "fp32")


def test_keep_float_of_glue():
    assert build(keep_float=["op/Add"]).offered["op/Add"] == ("fp32",)
    assert build(keep_float=["^op/A"]).offered["op/Add"] == ("fp32",)


def test_only():
    space = build(only=["Conv", "^embed"])
    assert space.layers == ("layer/stem/Conv", "layer/body/Conv_1")  # not all of the group `embed` matches
    assert space.ops == ()
    assert build(only=["embed"]).layers == ("layer/embed",)
    assert build(only=["stem", "op/Add"]).ops == ("op/Add",)


def test_fix():
    space = build(fix={"weight/granularity": "per_channel", "layer/unembed": "int8", "op/Add": "fp32"})
    assert space.offered["weight/granularity"] == ("per_channel",)
    assert space.offered["layer/embed"] == ("int8",)
    assert space.ops == ()
    assert "layer/embed" not in space.free_layers


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"keep_float": ["("]}, "--keep-float must be a regular expression"),
        ({"only": ["nowhere"]}, "--only 'nowhere' matches none of 5 names (stem/Conv, "),
        ({"keep_float": ["op/Softmax"]}, "op/Add, op/Sub"),
        ({"fix": {"layer/stem/Cnov": "fp32"}}, "Near it: layer/stem/Conv"),
        ({"fix": {"weight/granularity": "channel"}}, "per_channel, per_tensor, but got 'channel'"),
        ({"fix": {"layer/up": "int8"}}, "the target cpu and the other options leave fp32"),
        ({"fix": {"layer/stem/Conv": "int8"}, "keep_float": ["stem"]}, "not to be had"),
        ({"fix": {"layer/embed": "int8", "layer/unembed": "fp32"}}, "contradicts int8"),
        ({"keep_float": ["."]}, "leave none of the 3 quantizable layers"),
    ],
)
def test_impossible_options(options: dict[str, object], text: str):
    with pytest.raises(OptionError) as caught:
        build(**options)
    assert text in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2


def test_nothing_to_quantize():
    with pytest.raises(ModelError, match="no layer that can be quantized for the target cpu"):
        build_space(Analysis((layer("up", "ConvTranspose"),), (), (), ()), CPU, calibrated=TENSORS)


def test_distributions_cover_every_choice():
    space = build()
    found = distributions(space)
    assert {name: d.choices for name, d in found.items()} == dict(space.choices)


@given(st.dictionaries(st.sampled_from(list(build().choices)), st.sampled_from([*PRECISIONS, *CALIBRATORS, "odd"])))
def test_canonical_recipes_are_offered_and_stay(given: Mapping[str, str]):
    space = build(keep_float=["stem"])
    recipe = space.canonical(given)
    assert all(recipe[name] in values for name, values in space.offered.items())
    assert space.canonical(recipe) == recipe


def test_corrections_are_offered_where_there_are_weights_to_correct():
    usual = build()
    for name, choices in (("weight/range", ("minmax", "mse")), ("correction/rounding", ("nearest", "gptq"))):
        assert usual.offered[name] == usual.choices[name] == choices
    assert usual.offered["correction/bias"] == ("off", "on", "empirical")
    bare = Analysis(
        (Layer("scores", "MatMul", 0, (), ("a", "b"), "c", None, None, None, None, "scores", None),), (), (), ("a", "b")
    )
    space = build_space(bare, CPU, calibrated={"a", "b", "c"})
    assert space.offered["correction/rounding"] == ("nearest",)
    assert space.choices["correction/rounding"] == ("nearest", "gptq")
