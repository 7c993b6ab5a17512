"""A model in all the forms its rewrites give it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from ..analyse import analyse
from ..analysis import Analysis
from ..model import Model
from .patch import Image
from .registry import ENLARGING, Rewritten, rewritten


@dataclass(frozen=True)
class Variant:
    """One of them.

    Attributes:
        model: The model after the rewrites.
        analysis: Its layers (of the same names in every variant) and glue.
        derived: See `Rewritten.derived`.
        sites: See `Rewritten.sites`.
    """

    model: Model
    analysis: Analysis
    derived: Mapping[str, Image]
    sites: Mapping[str, int]


class Variants:
    """The variants of one model, each made when it is first asked for, then kept. They share their weights.

    Args:
        model: The float model.
        analysis: Of this model, if it is there already.
    """

    def __init__(self, model: Model, analysis: Analysis | None = None) -> None:
        self.model = model
        self.analysis = analysis or analyse(model)
        self._made: dict[frozenset[str], Variant] = {
            frozenset(): Variant(model, self.analysis, {}, {}),
        }

    @cached_property
    def _all(self) -> Rewritten:
        return rewritten(self.model)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The rewrites that change this model, in order of application."""
        return tuple(self._all.sites)

    @property
    def sites(self) -> Mapping[str, int]:
        """Rewrite → in how many places it changes the model when all are made."""
        return self._all.sites

    def get(self, names: Collection[str]) -> Variant:
        """The model after some rewrites; those that do not change it are ignored."""
        key = frozenset(names).intersection(self.names)
        if key not in self._made:
            found = self._all if len(key) == len(self.names) else rewritten(self.model, key)
            self._made[key] = Variant(found.model, analyse(found.model), found.derived, found.sites)
        return self._made[key]

    @cached_property
    def full(self) -> Variant:
        """All rewrites made."""
        return self.get(self.names)

    @cached_property
    def union(self) -> Analysis:
        """The model's own analysis, with the glue and the tensors that only rewrites bring behind it.

        Node indices of that glue are of the rewritten graph: for names and types only.
        """
        types = {glue.op_type for glue in self.analysis.glue}
        new = tuple(glue for glue in self.full.analysis.glue if glue.op_type not in types)
        tensors = dict.fromkeys((*self.analysis.tensors, *self.full.analysis.tensors))
        return replace(self.analysis, glue=(*self.analysis.glue, *new), tensors=tuple(tensors))

    @cached_property
    def collected(self) -> tuple[str, ...]:
        """Tensors of the model as loaded whose ranges any variant may need, in the order they are written."""
        return self._written(self.analysis.tensors, (self.names, *((name,) for name in self.names)))

    @cached_property
    def usual(self) -> tuple[str, ...]:
        """Those of `collected` that matter where rewrites are made, in real models 60 to 100 % of them.

        Glue inside what a rewrite takes away (the Add, Clip, Mul and Div of a HardSwish) is float without these, and
        would be hardly any faster on integers.
        """
        layers = [tensor for layer in self.analysis.layers for tensor in (*layer.inputs, layer.output)]
        return self._written(layers, (self.names, [name for name in self.names if name not in ENLARGING]))

    def _written(self, tensors: Iterable[str], variants: Iterable[Collection[str]]) -> tuple[str, ...]:
        """These tensors and all that the variants need, as far as the model as loaded has them, in its order."""
        graph = self.model.proto.graph
        order = [value.name for value in graph.input] + [name for node in graph.node for name in node.output if name]
        wanted = set(tensors)
        for names in variants:
            variant = self.get(names)
            wanted.update(variant.analysis.tensors)
            wanted.update(image.source for image in variant.derived.values())
        return tuple(name for name in order if name in wanted)
