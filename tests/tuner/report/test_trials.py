import io

import pandas as pd
from autoquant.tuner.report.trials import MARKS, best, frame, kind, settings, table
from rich.console import Console

from tests.tuner.report.made import LAYERS, recipe, trial, trials


def text(width: int = 140) -> str:
    console = Console(width=width, highlight=False, color_system=None)
    with console.capture() as captured:
        console.print(table(trials(), relative=True, target="1%"))
    return captured.get()


def test_best_is_the_cheapest_that_holds() -> None:
    found = best(trials())
    assert found is not None
    assert found.number == 5
    assert best(trials()[:2]) is None
    # the earliest among equals
    twins = best([trial(7, 0.001, 0.5), trial(8, 0.0, 0.5)])
    assert twins is not None
    assert twins.number == 7


def test_kinds() -> None:
    assert [kind(each, 5) for each in trials()] == ["fails", "fails", "holds", "pruned", "failed", "best"]


def test_frame_has_a_row_a_trial_and_a_column_a_parameter() -> None:
    found = frame(trials())
    assert list(found["number"]) == [0, 1, 2, 3, 4, 5]
    assert list(found["feasible"]) == [False, False, True, False, False, True]
    assert found["metric"].isna().tolist() == [False, False, False, False, True, False]
    assert f"params/layer/{LAYERS[0]}" in found.columns
    assert found.loc[2, f"params/layer/{LAYERS[5]}"] == "fp32"
    assert "seconds/evaluate" in found.columns
    assert [name for name in found.columns if name.startswith("params/")] == list(found.columns[-len(recipe()) :])


def test_frame_survives_csv() -> None:
    written = frame(trials()).to_csv(index=False)
    read = pd.read_csv(io.StringIO(written))
    assert list(read["drop"].dropna()) == list(frame(trials())["drop"].dropna())


def test_an_empty_study_has_an_empty_frame() -> None:
    assert len(frame([])) == 0


def test_table_shows_every_trial_and_stars_the_best() -> None:
    lines = text().splitlines()
    rows = [line for line in lines if line[:1] in "★✓✗╌!"]
    assert [row[0] for row in rows[:6]] == list("✗✗✓╌!★")
    assert "> 2.00%" in rows[3]
    assert "≈ " in rows[3]
    assert "≈" not in rows[2]
    assert "cannot <load> it" in rows[4]
    assert "0.66%" in rows[5]
    assert "9" in rows[5].split()
    assert "drop allowed: 1%" in lines[-1]


def test_marks_and_figures_survive_a_narrow_terminal() -> None:
    shown = text(80)
    assert "0.7101" in shown
    assert "1.72×" in shown
    assert "prune-back" in shown
    assert [line[0] for line in shown.splitlines() if line[:1] in MARKS.values()][:6] == list("✗✗✓╌!★")


def test_an_empty_study_says_so() -> None:
    console = Console(width=80)
    with console.capture() as captured:
        console.print(table([], relative=True, target="1%"))
    assert "No trial yet." in captured.get()


def test_settings_name_the_choices() -> None:
    assert settings(recipe()) == "percentile_99.99 asymmetric, weights per_channel symmetric, glue Add"


def test_corrections_are_named_where_there_are_any() -> None:
    plain = recipe()
    assert "nearest" not in settings(plain)
    mended = plain.replace({"correction/rounding": "gptq", "correction/bias": "on", "weight/range": "minmax"})
    assert settings(mended) == f"{settings(plain)}, rounding gptq, bias on"
