"""The note on a winner that may only have been luckier than the next one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from autoquant.evaluators.base import Latency, Scored
from autoquant.strategies.base import Recipe
from autoquant.tuner.study import selection
from autoquant.tuner.study.baseline import save_samples
from autoquant.tuner.study.search import samples_file
from autoquant.tuner.study.trial import TrialRecord

RNG = np.random.default_rng(0)
MINE = RNG.random(400) < 0.9
ALIKE = MINE.copy()
ALIKE[np.flatnonzero(MINE)[:4]] = False
ALIKE[np.flatnonzero(~MINE)[:4]] = True
WORSE = np.where(np.arange(400) % 5 == 0, False, MINE)


def record(number: int, cost: float, speedup_ci: tuple[float, float] | None = None, drop: float = 0.0) -> TrialRecord:
    return TrialRecord(
        number,
        Recipe({"layer/a": str(number)}),
        "complete",
        metric=0.9,
        drop=drop,
        cost=cost,
        constraint=drop - 0.01,
        speedup=None if speedup_ci is None else 1 / cost,
        speedup_ci=speedup_ci,
    )


@pytest.fixture
def note(tmp_path: Path):
    def said(
        winner: TrialRecord,
        *others: TrialRecord,
        objective: str = "latency",
        scores: np.ndarray | None = None,
        **held: Any,
    ) -> str | None:
        inputs = SimpleNamespace(
            objective=objective,
            evaluation=SimpleNamespace(higher_is_better=True),
            request=SimpleNamespace(seed=0),
            bench=SimpleNamespace(simulated=False),
            file=lambda name: tmp_path / name,
        )
        run: Any = SimpleNamespace(inputs=inputs, usable=lambda: [winner, *others])
        (tmp_path / "samples").mkdir(exist_ok=True)
        if scores is not None:
            save_samples(samples_file(run, others[0].recipe), scores.astype(float))
        ends = winner.speedup_ci
        latency = Latency(1.0, winner.cost, 1 / winner.cost, ends, 41) if ends else None
        scored = Scored(float(MINE.mean()), MINE.astype(float), 1.0)
        found = {"record": winner, "scored": scored, "latency": latency, "holds": True, "passed": None, **held}
        return selection.note(run, SimpleNamespace(**found))

    return said


def test_a_winner_that_is_clearly_faster_needs_no_note(note) -> None:
    assert note(record(5, 0.5, (1.9, 2.1)), record(3, 0.6, (1.6, 1.8)), scores=ALIKE) is None


def test_intervals_that_overlap_are_told_with_the_metrics(note) -> None:
    assert note(record(5, 0.5, (1.9, 2.1)), record(3, 0.51, (1.85, 2.0))).endswith("and scores 0.9")
    said = note(record(5, 0.5, (1.9, 2.1)), record(3, 0.51, (1.85, 2.0)), scores=ALIKE)
    assert said.startswith("trial 3 is as fast within noise (1.96×, 1.85 to 2.00) and scores alike")
    assert "within selection noise" in said
    assert note(record(5, 0.5, (1.9, 2.1)), record(3, 0.51, (1.85, 2.0)), scores=WORSE).endswith("scores worse (0.9)")


def test_a_computed_cost_has_no_noise(note) -> None:
    assert note(record(5, 0.5), record(3, 0.51), objective="ops", scores=ALIKE) is None
    assert note(record(5, 0.5), record(3, 0.5005), objective="ops", scores=ALIKE).startswith("trial 3 costs the same")


def test_only_what_holds_the_target_is_a_rival(note) -> None:
    assert note(record(5, 0.5, (1.9, 2.1)), record(3, 0.5, (1.9, 2.1), drop=0.02)) is None
    assert note(record(5, 0.5, (1.9, 2.1))) is None


def test_no_note_beside_what_is_no_success(note) -> None:
    rival = record(3, 0.5, (1.9, 2.1))
    assert note(record(5, 0.5, (1.9, 2.1)), rival, holds=False) is None
    assert note(record(5, 0.5, (1.9, 2.1)), rival, passed=object()) is None
