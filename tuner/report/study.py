"""What a study was asked, read back from its attributes."""

from __future__ import annotations

from dataclasses import dataclass

from ...strategies.base import LAYER
from ..study.request import TargetDrop
from ..study.store import Store


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
