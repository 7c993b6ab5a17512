"""The rewrites there are, which of them change a model, and the model they make of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

import onnx

from ..draft import Draft, opset
from ..index import reads
from ..model import Model
from .attention import attention
from .channels import channels
from .gelu import gelu
from .hardswish import hardswish
from .layernorm import layernorm
from .patch import Change, Image, composed
from .pooling import pooling
from .scales import scales
from .shapes import shapes
from .silu import silu
from .softmax import softmax

REWRITES: Mapping[str, Callable[[Draft], Change]] = {
    "softmax": softmax,
    "shapes": shapes,
    "hardswish": hardswish,
    "gelu": gelu,
    "silu": silu,
    "layernorm": layernorm,
    "pooling": pooling,
    "attention": attention,
    "scales": scales,
    "channels": channels,
}
"""Name → rewrite, in the order they are made."""

ENLARGING = frozenset({"channels"})
"""Those that make the file larger; the others make it smaller, or the same."""

SUMMARIES: Mapping[str, str] = {
    "softmax": "Softmax without the Flatten and Reshape around it",
    "shapes": "constant targets for Reshape, without the shape arithmetic",
    "hardswish": "HardSigmoid (and Mul) for Add, Clip, Mul and Div",
    "gelu": "GELU as one operator",
    "silu": "SiLU as one operator",
    "layernorm": "LayerNormalization as one operator",
    "pooling": "GlobalAveragePool for ReduceMean",
    "attention": "constant factors moved up into the weights before them",
    "scales": "constant scales and shifts folded into the layers behind them",
    "channels": "channels of Convs in blocks of 16",
}
"""Name → what it does, a clause."""


@dataclass(frozen=True)
class Rewritten:
    """A model after some rewrites.

    Attributes:
        model: The rewritten model. Nodes and tensors that no rewrite touched have kept their names.
        derived: Tensors the original graph does not have → what their ranges follow from: tensors it has.
        sites: Rewrite → in how many places it changed the graph, only those that did.
    """

    model: Model
    derived: Mapping[str, Image] = field(default_factory=dict)
    sites: Mapping[str, int] = field(default_factory=dict)


def rewritten(model: Model, names: Collection[str] = REWRITES.keys()) -> Rewritten:
    """The model after these rewrites (all by default). It shares the weights that none of them changed.

    Raises:
        KeyError: There is no rewrite of that name.
    """
    unknown = set(names) - REWRITES.keys()
    if unknown:
        raise KeyError(f"no rewrite {min(unknown)!r}; there are {', '.join(REWRITES)}")
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    draft = Draft(proto, dict(model.weights))
    derived: dict[str, Image] = {}
    sites: dict[str, int] = {}
    for name, rewrite in REWRITES.items():
        if name not in names:
            continue
        change = rewrite(draft)
        if change.sites:
            sites[name] = change.sites
            derived.update({tensor: composed(image, derived) for tensor, image in change.derived.items()})
    if not sites:
        return Rewritten(model)
    _tidy(draft)
    there = {name for node in draft.proto.graph.node for name in node.output}
    derived = {tensor: image for tensor, image in derived.items() if tensor in there}
    made = replace(model, proto=draft.proto, weights=draft.weights, opset=opset(draft.proto))
    return Rewritten(made, derived, sites)


def _tidy(draft: Draft) -> None:
    """Take out the nodes, constants and declared types that nobody needs any more."""
    graph = draft.proto.graph
    wanted = {value.name for value in graph.output}
    dead: list[int] = []
    written: set[str] = set()
    for i in range(len(graph.node) - 1, -1, -1):
        node = graph.node[i]
        if wanted.isdisjoint(node.output):
            dead.append(i)
            continue
        wanted |= reads(node)
        written.update(node.output)
    draft.drop_nodes(dead)
    draft.drop_initializers([tensor.name for tensor in graph.initializer if tensor.name not in wanted])
    for i in range(len(graph.value_info) - 1, -1, -1):
        if graph.value_info[i].name not in written:
            del graph.value_info[i]
