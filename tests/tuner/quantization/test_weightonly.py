"""Weights alone on 4 or 8 bits: what the file holds, what runs, what it answers."""

from __future__ import annotations

import random
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from autoquant.evaluators.session import open_session
from autoquant.strategies.words import BIAS, LAYER, WEIGHT_ONLY
from autoquant.tuner.calibration.moments import Moment
from autoquant.tuner.graph.serialize import write
from autoquant.tuner.quantization.builder import Builder
from autoquant.tuner.quantization.candidate import Candidate
from autoquant.tuner.quantization.kernels import integer_kernels, ran
from autoquant.tuner.quantization.passes import Passes
from autoquant.tuner.quantization.results import Kept, Wanted
from autoquant.tuner.targets.profiles import get

from tests import zoo
from tests.tuner.quantization.building import Case, case, distance, zoo_case

NETS = ("conv_net", "transformer", "half_net", "constant_weight_net", "shared_weight_net")
"""Among them float16, opset 11, and a weight that two layers share."""


def contents(candidate: Candidate) -> tuple[bytes, dict[str, bytes]]:
    """All of it, to be compared bit by bit."""
    return candidate.skeleton(), {name: array.tobytes() for name, array in candidate.weights.items()}


@pytest.mark.parametrize("symmetry", ["symmetric", "asymmetric"])
@pytest.mark.parametrize("precision", WEIGHT_ONLY)
@pytest.mark.parametrize("net", NETS)
def test_it_answers_what_rounded_weights_do(net: str, precision: str, symmetry: str) -> None:
    made = zoo_case(net)
    recipe = made.recipe(precision, weight_symmetry=symmetry)
    candidate, rounded = made.builder.build(recipe), made.builder.build(recipe, simulate=True)
    assert precision in candidate.layers.values()
    assert ran(candidate, made.analysis) == dict(candidate.layers)
    apart = distance(made.outputs(rounded), made.outputs(candidate))
    assert apart < (1e-10 if precision == "weight8" else 2e-4)  # the 4-bit kernel rounds activations too
    off = distance(made.float_outputs(), made.outputs(candidate))
    assert 0 < off < (1e-3 if precision == "weight8" else 0.05)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("net", ["conv_net", "transformer", "hardswish_net"])
def test_any_mixture_runs_as_it_was_built(net: str, seed: int) -> None:
    """Above all: float kernels with stored weights between integer ones are not made integer by ONNX Runtime."""
    made = zoo_case(net)
    draw = random.Random(seed)
    chosen = {LAYER + group: draw.choice(["int8", "int8", "weight8", "int4", "fp32"]) for group in made.analysis.groups}
    recipe = made.recipe(glue="int8" if net == "conv_net" and seed % 2 else "fp32").replace(chosen)
    candidate = made.builder.build(recipe)
    assert ran(candidate, made.analysis) == dict(candidate.layers)
    assert distance(made.float_outputs(), made.outputs(candidate)) < 0.05


def test_a_stored_convolution_between_integer_ones_stays_in_float() -> None:
    made = zoo_case("conv_net")
    chosen = made.recipe("int8").replace({LAYER + "depthwise": "weight8"})
    candidate = made.builder.build(chosen)
    assert candidate.layers["depthwise"] == "weight8"
    assert {kernel.layer for kernel in integer_kernels(candidate, made.analysis)} == set(candidate.layers) - {
        "depthwise"
    }


def test_the_file_holds_bytes(tmp_path) -> None:
    rng = np.random.default_rng(0)
    sketch = zoo.Sketch()
    weight = sketch.put("w", rng.normal(size=(256, 512)).astype(np.float32))
    sketch.add("MatMul", ["x", weight], "h")
    sketch.add("Add", ["h", sketch.put("b", rng.normal(size=512).astype(np.float32))], "y")
    made = case(sketch.model([zoo.value("x", [None, 256])], [zoo.value("y", [None, 512])]), tmp_path)
    sizes = {}
    for precision in ("fp32", "weight8", "int4"):
        candidate = made.builder.build(made.recipe(precision))
        path = tmp_path / f"{precision}.onnx"
        write(candidate.proto, candidate.weights, path)
        sizes[precision] = path.stat().st_size
        assert abs(candidate.size_bytes - sizes[precision]) < 2000
        assert ran(path, made.analysis) == dict(candidate.layers)
    assert sizes["weight8"] < 0.27 * sizes["fp32"]
    assert sizes["int4"] < 0.17 * sizes["fp32"]


@pytest.mark.parametrize(
    ("net", "layer", "why"),
    [
        ("conv_net", "stem", "the target cpu has no int4 for Conv"),
        ("transformer", "scores", "both its operands are activations"),
    ],
)
def test_what_cannot_be_stays_float_with_the_reason(net: str, layer: str, why: str) -> None:
    made = zoo_case(net)
    candidate = made.builder.build(made.recipe("fp32").replace({LAYER + layer: "int4"}))
    assert candidate.layers[layer] == "fp32"
    assert candidate.notes == (f"{layer} stays in float, not int4: {why}.",)
    assert made.builder.unweighted["int4"][layer] == why


def test_a_weight_on_the_left_cannot_be_packed(tmp_path) -> None:
    sketch = zoo.Sketch()
    sketch.add("MatMul", [sketch.weight("w", 8, 16), "x"], "y", name="left")
    made = case(sketch.model([zoo.value("x", [None, 16, 4])], [zoo.value("y", [None, 8, 4])]), tmp_path)
    assert made.builder.unweighted["int4"] == {"left": "its weight is the left operand"}
    candidate = made.builder.build(made.recipe("weight8"))
    assert candidate.layers == {"left": "weight8"}
    assert distance(made.float_outputs(), made.outputs(candidate)) < 1e-3


class Samples:
    """A source that knows E[x] and E[x xᵀ] of random rows."""

    costs: ClassVar[dict[str, float]] = {}
    seconds = 0.0

    def get(self, wanted: Wanted) -> Kept:
        rng = np.random.default_rng(0)
        moments = {}
        for form in wanted.forms:
            rows = rng.normal(size=(form.groups, 256, form.size)) + 1.0
            moments[form] = Moment(rows.mean(axis=1), rows.transpose(0, 2, 1) @ rows / 256)
        return Kept(wanted.compute(moments), f"{wanted.key}.npy")


def corrected(made: Case) -> Builder:
    return Builder(made.model, made.analysis, made.ranges, get("cpu"), Samples())


@pytest.mark.parametrize("precision", WEIGHT_ONLY)
def test_rounding_ranges_and_biases_are_corrected_alike(precision: str) -> None:
    made = zoo_case("transformer")
    builder = corrected(made)
    plain = builder.build(made.recipe(precision))
    for changes in ({"weight/range": "mse"}, {"correction/rounding": "gptq"}, {"correction/bias": "on"}):
        changed = builder.build(made.recipe(precision).replace(changes))
        assert ran(changed, made.analysis) == dict(plain.layers)
        assert bool(changed.corrections) == ("weight/range" not in changes)
        assert distance(made.float_outputs(), made.outputs(changed)) < 0.05
        assert contents(changed) != contents(plain)
    again = corrected(made).build(made.recipe(precision).replace(changes))
    assert contents(again) == contents(changed)


def test_builds_are_bit_equal() -> None:
    for precision in WEIGHT_ONLY:
        made = zoo_case("transformer")
        one, other = (
            Builder(made.model, made.analysis, made.ranges, get("cpu")).build(made.recipe(precision)) for _ in "ab"
        )
        assert contents(one) == contents(other)


@pytest.mark.parametrize("bias", ["off", "on"])
@pytest.mark.parametrize("precision", [*WEIGHT_ONLY, "int8", "fp32"])
def test_a_bias_behind_integers_that_a_guard_stands_for(precision: str, bias: str, tmp_path: Path) -> None:
    sketch = zoo.Sketch(1)
    sketch.conv("x", "first", 3, 8)
    sketch.linear("first", "middle", 8, 8)
    proto = sketch.model([zoo.value("x", ["N", 3, 8, 8])], [zoo.value("middle", ["N", 8, 8, 8])])
    made = case(proto, tmp_path)
    (layer,) = (layer for layer in made.analysis.layers if layer.op_type == "MatMul")
    source = Passes(lambda: made.feeds, lambda *given, **options: open_session(*given, **options, threads=1), 1)
    builder = Builder(made.model, made.analysis, made.ranges, get("cpu"), source)
    candidate = builder.build(made.recipe().replace({LAYER + layer.group: precision, BIAS: bias}))
    assert candidate.layers[layer.name] == precision
    assert ran(candidate, made.analysis) == dict(candidate.layers)
    assert distance(made.float_outputs(), made.outputs(candidate)) < 0.01
