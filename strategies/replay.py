"""Search procedures as straight-line generators, replayed from the history at every step.

A procedure yields the `Score` or `Probe` whose outcome it needs next and is sent that outcome. Replaying it from
the start against what is already known, up to the first unknown, gives the next action. So a procedure reads like
a program with local variables, and still keeps no state between calls: the same history gives the same action,
after a crash, a changed budget or a score that a sibling study lent.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

from .base import History, Outcome, Probe, Profile, Recipe, Score
from .words import CLOSENESS, LATENCY, PROFILE

T = TypeVar("T")

Procedure = Generator[Score | Probe, Any, T]
"""Yields what it needs to know, returns a T.

It is sent an `Outcome` for a `Score`, a `Profile` for a `Probe` of that kind, and a float for any other.
"""


WORTH = 0.01
"""A change is of use where it lowers a distance by this part."""


class Unknown(Exception):  # noqa: N818 - no error: it carries the action whose outcome is not in the history
    """Raised by `replay` with the first action that the history does not answer."""

    def __init__(self, action: Score | Probe) -> None:
        super().__init__(action)
        self.action = action


def replay(procedure: Procedure[T], history: History) -> T:
    """Run a procedure on what is known and return its result.

    Raises:
        Unknown: The history lacks an outcome; `.action` is the action to take.
    """
    answer: Outcome | Profile | float | None = None
    while True:
        try:
            action = procedure.send(answer) if answer is not None else next(procedure)
        except StopIteration as end:
            result: T = end.value
            return result
        if isinstance(action, Probe):
            known = history.profiles.get(action.recipe) if action.kind == PROFILE else None
            answer = known or history.probes.get((action.kind, action.recipe))
        else:
            answer = history.scored.get(action.recipe)
        if answer is None:
            raise Unknown(action)


def score(recipe: Recipe, phase: str) -> Procedure[Outcome]:
    """Ask for one trial."""
    outcome: Outcome = yield Score(recipe, phase)
    return outcome


def distance(recipe: Recipe, phase: str) -> Procedure[float]:
    """Ask for one distance probe."""
    value: float = yield Probe("distance", recipe, phase)
    return value


def closeness(recipe: Recipe, phase: str) -> Procedure[float]:
    """Ask for one probe of the kind `sqnr`: of more samples than `distance`, none of which outweighs the others.

    It is for few recipes, all of them close to float: there it predicts a text recogniser's metric better than
    `distance` does, which is for many recipes, and adds up; others' as well (benchmarks/closeness.py).
    """
    value: float = yield Probe(CLOSENESS, recipe, phase)
    return value


def latency(recipe: Recipe, phase: str, beat: float | None = None) -> Procedure[float]:
    """Ask for one latency probe: the cost under the objective latency; `beat` as in `Probe`."""
    value: float = yield Probe(LATENCY, recipe, phase, beat)
    return value


def profile(recipe: Recipe, phase: str) -> Procedure[Profile]:
    """Ask for one profile; an empty one where it fails."""
    value: Profile | float = yield Probe(PROFILE, recipe, phase)
    return value if isinstance(value, Profile) else Profile({}, {}, 0.0, 0.0)
