"""A study read back for its report: what it was asked, and its page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...strategies.words import LAYER
from ..study.request import TargetDrop
from ..study.store import Store
from .html import render


@dataclass(frozen=True, slots=True)
class Asked:
    """What a study was asked, as it recorded it.

    Attributes:
        objective: `latency`, `size` or `ops`; `cost` where the study does not say.
        command: The command line that made it, "" where none did.
        layers: Names of its layers (or groups), in graph order.
    """

    target: TargetDrop
    objective: str
    command: str
    layers: tuple[str, ...]


def asked(store: Store) -> Asked:
    """What the study was asked."""
    drop = store.get("target_drop")
    return Asked(
        target=TargetDrop(float(drop["value"]), bool(drop["relative"])),
        objective=str(store.get("objective") or "cost"),
        command=str(store.get("command") or ""),
        layers=tuple(name.removeprefix(LAYER) for name in store.choices if name.startswith(LAYER)),
    )


def page(store: Store, result: Mapping[str, Any] | None) -> str:
    """The report of a study as it stands.

    Args:
        store: The study.
        result: The content of its result.json, None while there is none.
    """
    what = asked(store)
    return render(
        store.name,
        store.trials(),
        target=what.target,
        objective=what.objective,
        result=result,
        layers=what.layers,
        command=what.command,
    )
