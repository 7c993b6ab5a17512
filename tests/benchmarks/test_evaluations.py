import pytest

from benchmarks import table
from benchmarks.evaluations import merged, parts


def row(task: str, median: float, **more: object) -> dict[str, object]:
    found = {"evaluations": [median], "arrived": 1, "probes": 0, "probe_in_evaluations": 0.1, "samples": 10}
    return {"task": task, "strategy": "auto", "median": median, **found, **more}


def test_a_task_may_name_its_samples() -> None:
    assert parts(["cls180", "ocr_v4=150"], 400) == {"cls180": 400, "ocr_v4": 150}
    with pytest.raises(ValueError, match="many"):
        parts(["cls180=many"], 400)


def test_rows_of_other_tasks_stay_with_the_revision_they_are_of() -> None:
    old = [row("cls180", 9, revision="a" * 12), row("ocr_v4", 8, revision="b" * 12)]
    origin = {"date": "2026-01-02", "command": "python -m benchmarks.evaluations ocr_v4", "revision": "c" * 12}
    found = merged([row("ocr_v4", 2)], {**origin, "rows": old})
    assert [(each["task"], each["median"], each["revision"][0]) for each in found["rows"]] == [
        ("cls180", 9, "a"),
        ("ocr_v4", 2, "c"),
    ]
    assert found["rows"][1]["command"] == origin["command"]
    text = table.evaluations(found)
    assert "aaaaaaaaaaaa" in text
    assert "cccccccccccc" in text
