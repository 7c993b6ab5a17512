"""Strategies by name."""

from __future__ import annotations

from ..errors import OptionError
from .auto import Auto
from .base import Strategy
from .exhaustive import Exhaustive
from .gp import Gp
from .informed import Informed
from .nsga2 import Nsga2
from .pareto import Pareto
from .peers.aimet import Aimet
from .peers.inc import Inc
from .peers.nncf import Nncf
from .random import Random
from .tpe import Tpe

_STRATEGIES: dict[str, type[Strategy]] = {
    cls.name: cls for cls in (Auto, Informed, Tpe, Nsga2, Gp, Random, Exhaustive, Pareto, Inc, Nncf, Aimet)
}
NAMES = tuple(_STRATEGIES)


def make(name: str) -> Strategy:
    """The strategy of this name.

    Raises:
        OptionError: There is none, or it needs a package that is not installed.
    """
    try:
        return _STRATEGIES[name]()
    except KeyError:
        raise OptionError(f"--strategy must be one of {', '.join(NAMES)}, but got {name!r}") from None
