import pytest
from autoquant.errors import OptionError
from autoquant.tuner.study.request import Objective


@pytest.mark.parametrize(
    ("text", "cost", "pareto"),
    [("latency", "latency", False), ("size", "size", False), ("latency,drop", "latency", True),
     ("drop, ops", "ops", True), (" size , drop ", "size", True)],
)  # fmt: skip
def test_an_objective_is_a_cost_and_maybe_the_drop(text: str, cost: str, pareto: bool) -> None:
    assert Objective.parse(text) == Objective(cost, pareto)
    assert Objective.parse(str(Objective.parse(text))) == Objective(cost, pareto)


@pytest.mark.parametrize("text", ["", "drop", "speed", "latency,size", "latency,drop,size", "latency,,drop", "a,drop"])
def test_anything_else_is_told_in_one_line(text: str) -> None:
    with pytest.raises(OptionError, match="--objective must be one of latency, size, ops, or one of them") as caught:
        Objective.parse(text)
    assert "\n" not in str(caught.value)
