from __future__ import annotations

from autoquant.tuner.graph.names import LONGEST, cut, node_names
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper


def nodes(names: list[str]) -> list[object]:
    return [helper.make_node("Op", [], [f"t{i}"], name=name) for i, name in enumerate(names)]


@given(st.lists(st.sampled_from(["", "a", "b", "Op:t0", "Op:t1", "Op:t2", "Op:t3"]), max_size=8))
def test_names_are_unique_and_kept_where_they_can_be(given_names: list[str]) -> None:
    names = node_names(nodes(given_names))  # type: ignore[arg-type]
    assert len(set(names)) == len(names)
    for i, (name, old) in enumerate(zip(names, given_names, strict=True)):
        assert name in (old, f"Op:t{i}")
        if old in ("a", "b") and given_names.count(old) == 1:
            assert name == old


def test_naming_again_changes_nothing() -> None:
    names = node_names(nodes(["", "a", "a", "Op:t0"]))  # type: ignore[arg-type]
    assert names == ["Op:t0", "Op:t1", "Op:t2", "Op:t3"]
    assert node_names(nodes(names)) == names  # type: ignore[arg-type]


@given(st.text(min_size=LONGEST - 2, max_size=LONGEST + 40), st.text(min_size=LONGEST - 2, max_size=LONGEST + 40))
def test_cutting_keeps_names_apart(a: str, b: str) -> None:
    assert len(cut(a)) <= LONGEST
    assert (cut(a) == cut(b)) == (a == b)
