from __future__ import annotations

from pathlib import Path

from tests import zoo
from tests.tuner.graph.running import check, ops


def test_sums_of_two_are_adds_of_one_nothing_of_three_themselves(tmp_path: Path) -> None:
    g = zoo.Sketch(1)
    g.add("Sum", ["a", "b"], "c")
    g.add("Sum", ["c"], "d")
    g.add("Sum", ["d", "a", "b"], "y")
    model = check(g.model([zoo.value("a", ["N", 4]), zoo.value("b", [4])], [zoo.value("y", ["N", 4])]), tmp_path)
    assert ops(model) == ["Add", "Sum"]
