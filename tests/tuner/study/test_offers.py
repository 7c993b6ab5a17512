"""Which precisions a layer is offered, and what a request for another is told."""

from __future__ import annotations

import pytest
from autoquant.errors import OptionError
from autoquant.strategies.base import Space
from autoquant.tuner.study.offers import check
from autoquant.tuner.study.space import build_space
from autoquant.tuner.targets.profiles import get

from tests.tuner.quantization.building import zoo_case


def space(net: str = "transformer", target: str = "cpu", **options: object) -> Space:
    made = zoo_case(net)
    return build_space(
        made.analysis,
        get(target),
        calibrated=made.analysis.tensors,
        unweighted=made.builder.unweighted,
        **options,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("objective", ["latency", "ops", ""])
def test_the_usual_offer_is_as_ever(objective: str) -> None:
    assert space(objective=objective).offered["layer/logits"] == ("int8", "fp32")


def test_for_size_weights_alone_are_offered_too() -> None:
    offered = space(objective="size").offered
    assert offered["layer/logits"] == ("int8", "weight8", "int4", "fp32")
    assert offered["layer/scores"] == ("int8", "fp32")  # two activations
    assert space("conv_net", objective="size").offered["layer/stem"] == ("int8", "weight8", "fp32")


def test_an_npu_offers_16_bits() -> None:
    assert space(target="qnn", objective="ops").offered["layer/logits"] == ("int8", "int16", "fp32")


def test_what_is_asked_for_is_offered_and_float_always() -> None:
    offered = space(precisions=("int4", "int8")).offered
    assert offered["layer/logits"] == ("int8", "int4", "fp32")
    assert offered["layer/scores"] == ("int8", "fp32")
    alone = space(precisions=("weight8",)).offered
    assert alone["layer/logits"] == ("weight8", "fp32")
    assert alone["layer/scores"] == ("fp32",)


def test_a_layer_kept_in_float_is_offered_nothing_else() -> None:
    assert space(objective="size", keep_float=["logits"]).offered["layer/logits"] == ("fp32",)
    assert space(target="qnn", keep_float=["logits"]).offered["layer/logits"] == ("fp32",)


def test_one_layer_can_be_fixed_to_what_is_not_usual() -> None:
    found = space(objective="latency", fix={"layer/logits": "int4"})
    assert found.offered["layer/logits"] == ("int4",)
    assert found.fallback("layer/logits") == "int4"


@pytest.mark.parametrize(
    ("net", "layer", "precision", "message"),
    [
        ("conv_net", "stem", "int4", "stem: the target cpu has no int4 for Conv. There are: int8, fp32."),
        ("transformer", "scores", "int4", "scores: both its operands are activations"),
        ("transformer", "logits", "int16", "the target cpu and the other options leave int8, fp32"),
    ],
)
def test_a_request_that_cannot_be_is_told_why(net: str, layer: str, precision: str, message: str) -> None:
    with pytest.raises(OptionError) as told:
        space(net, fix={f"layer/{layer}": precision})
    assert message in str(told.value)
    assert str(told.value).startswith(f"--fix layer/{layer}={precision} is not to be had here: ")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (("int16", "int8"), "'int16' is not to be had on the target cpu.\nThere are: int8, fp32, int4, weight8."),
        (("int3",), "'int3' is no precision"),
        (("fp32",), "--precisions fp32 leaves nothing to quantize"),
    ],
)
def test_precisions_that_the_target_lacks_are_refused(asked: tuple[str, ...], message: str) -> None:
    with pytest.raises(OptionError) as told:
        check(asked, get("cpu"))
    assert message in str(told.value)
    check(("int8", "int4"), get("cpu"))
    check((), get("cpu"))
