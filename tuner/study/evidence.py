"""What a verdict rests on beside the delivered model: the certificate, and the fastest of what was tried."""

from __future__ import annotations

from typing import Any

from ...strategies.certificate import certificate
from .confirm import Confirmed
from .run import Run

CERTIFICATE = "certificate"

_FASTEST = 5


def certified(run: Run, found: Confirmed | None) -> dict[str, Any] | None:
    """The certificate of the delivered recipe, kept in the study; None where it is none that was searched for.

    A best effort beyond the target has no minimum, and a float model in place of a slower one is not of the search.
    """
    if found is None or not found.holds or found.passed is not None:
        return None
    said = certificate(run.history(), found.record.recipe).to_json()
    run.store.put({CERTIFICATE: said})
    return said


def fastest(run: Run) -> tuple[dict[str, Any], ...]:
    """The candidates of least cost with anything in int8, whether they hold the target or not, the best first."""
    told = [record for record in run.usable() if record.cost is not None and record.int8_layers]
    return tuple(
        {
            "trial": record.number,
            "cost": record.cost,
            "speedup": record.speedup,
            "speedup_ci": list(record.speedup_ci) if record.speedup_ci else None,
            "drop": record.drop,
            "holds": record.feasible,
            "int8_layers": record.int8_layers,
        }
        for record in sorted(told, key=lambda record: (record.cost, record.number))[:_FASTEST]
    )
