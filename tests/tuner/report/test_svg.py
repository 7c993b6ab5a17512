import math
import xml.etree.ElementTree as ElementTree

import pytest
from autoquant.tuner.report import svg
from hypothesis import given
from hypothesis import strategies as some

finite = some.floats(-1e6, 1e6)


def write(value: float) -> str:
    return f"{value:.3g}"


@given(some.floats(1e-9, 1e9))
def test_a_nice_step_is_1_2_or_5_times_a_power_of_ten_and_not_below(rough: float) -> None:
    step = svg.nice_step(rough)
    mantissa = step / 10.0 ** math.floor(math.log10(step) + 1e-9)
    assert any(math.isclose(mantissa, wanted, rel_tol=1e-6) for wanted in (1, 2, 5))
    assert 0.998 * rough <= step <= 10 * rough


@given(finite, some.floats(1e-3, 1e5))
def test_ticks_lie_inside_and_are_few(low: float, width: float) -> None:
    axis = svg.Axis(low, low + width, "", write)
    ticks = axis.ticks()
    slack = 1e-6 * (abs(low) + width)
    assert all(low - slack <= tick <= low + width + slack for tick in ticks)
    assert len(ticks) <= 7


def test_values_beyond_an_axis_stay_at_its_edge() -> None:
    axis = svg.Axis(0.0, 1.0, "", write)
    assert axis.place(-5, 10, 20) == 10
    assert axis.place(0.25, 10, 20) == 12.5
    assert axis.place(9, 10, 20) == 20


def test_an_empty_range_is_no_division_by_zero() -> None:
    assert svg.Axis(1.0, 1.0, "", write).place(1.0, 10, 20) == 10


@pytest.mark.parametrize("kind", ["holds", "fails", "best", "pruned"])
def test_every_mark_is_well_formed_and_escaped(kind: str) -> None:
    axis = svg.Axis(0.0, 1.0, "a < b", write)
    picture = svg.scatter([svg.Point(0.5, 0.5, kind, "x < y & z")], axis, axis, limit=0.9, title='"quoted"')
    root = ElementTree.fromstring(picture)
    assert root.attrib["aria-label"] == '"quoted"'
    assert [title.text for title in root.iter("title")] == ["x < y & z"]


def test_stairs_go_down_to_the_last_best() -> None:
    axis = svg.Axis(0.0, 10.0, "", write)
    picture = svg.steps([(1, 8.0), (4, 3.0)], [], axis, axis, title="t")
    path = next(p for p in ElementTree.fromstring(picture).iter("path") if p.attrib["class"] == "best-line")
    assert path.attrib["d"].count("V") == 1
    assert path.attrib["d"].endswith(f"H{svg.WIDTH - svg.RIGHT}")


def test_a_strip_of_many_layers_stays_inside_the_picture() -> None:
    root = ElementTree.fromstring(svg.strip([(f"l{i}", "int8") for i in range(900)], title="t"))
    cells = list(root.iter("rect"))
    assert len(cells) == 900
    assert max(float(cell.attrib["x"]) + float(cell.attrib["width"]) for cell in cells) <= svg.WIDTH + 1
