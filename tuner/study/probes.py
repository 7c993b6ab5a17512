"""Probes of a study as its database holds them, one attribute each."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from ...strategies.base import Profile, Recipe
from ...strategies.words import PROFILE
from .trial import comparable, decode, encode, is_number, recipe_hash

PROBE = "probe/"


class Probes:
    """What was probed, read row by row and never read again.

    Attributes:
        last: Number of the last row taken in, -1 before the first.
    """

    def __init__(self, choices: Mapping[str, tuple[str, ...]]) -> None:
        """Choices: parameter → all its choices, in the order that recipes are written in."""
        self._choices = choices
        self._taken: list[tuple[tuple[str, Recipe], float | Profile | None, dict[str, Any] | None]] = []
        self.last = -1

    def attribute(
        self, kind: str, recipe: Recipe, value: float | Profile | None, on: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        """The study attribute that holds a probe.

        Args:
            kind: As in `strategies.base.Probe`.
            recipe: What was probed.
            value: Its value; infinity or None says that it failed.
            on: The machine, where the value depends on it.
        """
        key = f"{PROBE}{kind}/{recipe_hash(recipe)}"
        written = asdict(value) if isinstance(value, Profile) else value if is_number(value) else None
        held: dict[str, Any] = {"value": written, "recipe": encode(recipe, self._choices)}
        if on is not None:
            held["on"] = dict(on)
            key += f"@{hashlib.sha256(json.dumps(held['on'], sort_keys=True).encode()).hexdigest()[:12]}"
        return {key: held}

    def take(self, rows: Iterable[tuple[int, str, Any]]) -> None:
        """Take in (row's number, attribute, content), in the order of the numbers."""
        for number, key, held in rows:
            value = Profile(**held["value"]) if key.split("/")[1] == PROFILE and held["value"] else held["value"]
            self._taken.append(((key.split("/")[1], decode(held["recipe"], self._choices)), value, held.get("on")))
            self.last = number

    def values(self, here: Mapping[str, Any] | None) -> dict[tuple[str, Recipe], float]:
        """(kind, recipe) → value, infinity for one that failed.

        Args:
            here: The machine: what was timed on one that does not compare is left out. None leaves out nothing.
        """
        return {
            key: math.inf if value is None else value
            for key, value, on in self._taken
            if not isinstance(value, Profile) and (on is None or here is None or comparable(on, here))
        }

    def profiles(self, here: Mapping[str, Any]) -> dict[Recipe, Profile]:
        """Recipe → its profile on this machine."""
        return {
            recipe: value
            for (_, recipe), value, on in self._taken
            if isinstance(value, Profile) and on is not None and comparable(on, here)
        }
