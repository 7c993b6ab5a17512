"""A model's anatomy: layers, groups, glue, tables and refusals, as tables and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ...strategies.words import REWRITE, TABLE, TABLE_PRECISIONS
from ..graph.analysis import Analysis, Layer, Refusal
from ..graph.model import Model
from ..graph.rewrite.registry import SUMMARIES
from ..targets.base import Target
from . import format as write

_PICKED = "weights only, where size counts"
NAMED = 3  # refused operators named in a row; the others are counted


def render(
    model: Model, analysis: Analysis, target: Target, rewrites: Mapping[str, int] | None = None
) -> RenderableType:
    """The analysis for a terminal; rewrites: name → in how many places."""
    parts: list[RenderableType] = [_head(model)]
    if analysis.layers:
        parts += [Text(), _title("Layers", _layers_line(analysis, target)), _layers(model, analysis, target)]
    if analysis.glue:
        parts += [
            Text(),
            _title("Glue", "operators between the layers that can pass or compute int8"),
            _glue(analysis, target),
        ]
    if analysis.tables:
        told = "constants that rows are picked of" + ("" if _stores(target, "Gather") else f"; float on {target.name}")
        parts += [Text(), _title("Tables", told), _tables(model, analysis, target)]
    if rewrites:
        parts += [Text(), _title("Rewrites", "exact changes of the graph, tried by the search"), _rewrites(rewrites)]
    if analysis.refusals:
        parts += [Text(), _title("Stays float", "and why"), _refusals(analysis)]
    if not analysis.layers:
        parts += [Text(), Text("Nothing in this model can be quantized.", style="bold yellow")]
    return Group(*parts)


def to_json(
    model: Model, analysis: Analysis, target: Target, rewrites: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """The same as data."""
    return {
        "model": {
            "path": str(model.path),
            "bytes": model.source_bytes,
            "opset": model.opset,
            "fingerprint": model.fingerprint,
            "inputs": [_tensor(value) for value in model.proto.graph.input],
            "outputs": [_tensor(value) for value in model.proto.graph.output],
            "notes": list(model.notes),
        },
        "target": target.name,
        "layers": [
            {
                "name": layer.name,
                "op_type": layer.op_type,
                "group": layer.group,
                "weight": layer.weight,
                "weight_shape": _weight_shape(model, layer),
                "fused": _tail(model, layer),
                "inputs": list(layer.inputs),
                "output": layer.output,
                "int8": layer.op_type in target.layers,
                "weights_only": list(target.weight_only.get(layer.op_type, ())) if layer.weight else [],
                "reason": _why(layer.op_type, target, layer.weight is not None),
            }
            for layer in analysis.layers
        ],
        "glue": [
            {
                "name": glue.name,
                "op_type": glue.op_type,
                "passes": glue.passes,
                "int8": glue.op_type in target.glue,
                "reason": "" if glue.op_type in target.glue else f"no integer kernel on {target.name}",
            }
            for glue in analysis.glue
        ],
        "tables": [
            {
                "name": table.name,
                "weight": table.weight,
                "weight_shape": _shape(model, table.weight),
                "readers": len(table.nodes),
                "weights_only": [value for value in TABLE_PRECISIONS if value in target.weight_only.get("Gather", ())],
                "reason": _PICKED if _stores(target, "Gather") else f"float on {target.name}",
            }
            for table in analysis.tables
        ],
        "rewrites": dict(rewrites or {}),
        "refusals": [
            {"name": refusal.name, "op_type": refusal.op_type, "reason": refusal.reason}
            for refusal in analysis.refusals
        ],
    }


def _stores(target: Target, op_type: str) -> bool:
    """Whether the target runs an operator with its constants alone on integers."""
    return bool(target.weight_only.get(op_type))


def _why(op_type: str, target: Target, weighted: bool) -> str:
    """Why a layer stays in float, a clause; "" where it can be int8."""
    if op_type in target.layers:
        return ""
    alone = "; weights only, where size counts" if weighted and _stores(target, op_type) else ""
    return f"no integer kernel on {target.name}{alone}"


def _title(name: str, text: str) -> Text:
    return Text.assemble((name, "bold"), ("  " + text, "dim"))


def _head(model: Model) -> RenderableType:
    graph = model.proto.graph
    operators = Counter(node.op_type for node in graph.node)
    line = f"{write.size(model.source_bytes)}, opset {model.opset}, {write.many(len(graph.node), 'operator')}"
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, values in (("inputs", graph.input), ("outputs", graph.output)):
        grid.add_row(name, "\n".join(_declared(value) for value in values))
    common = ", ".join(f"{number} {kind}" for kind, number in operators.most_common(8))
    grid.add_row("operators", common + (", …" if len(operators) > 8 else ""))
    notes = [Text(f"· {note}") for note in model.notes]
    return Group(Text.assemble((str(model.path.name), "bold"), f"  {line}"), Padding(Group(grid, *notes), (0, 0, 0, 2)))


def _declared(value: onnx.ValueInfoProto) -> str:
    described = _tensor(value)
    shape = described["shape"]
    return f"{described['name']}: {described['type']} " + (
        "of any shape" if shape is None else "[" + ", ".join(str(size) for size in shape) + "]"
    )


def _tensor(value: onnx.ValueInfoProto) -> dict[str, Any]:
    kind = value.type.tensor_type
    shape = None
    if kind.HasField("shape"):
        shape = [dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in kind.shape.dim]
    name = onnx.TensorProto.DataType.Name(kind.elem_type).lower() if kind.elem_type else "no tensor"
    return {"name": value.name, "type": name, "shape": shape}


def _layers_line(analysis: Analysis, target: Target) -> str:
    able = sum(layer.op_type in target.layers for layer in analysis.layers)
    kinds = Counter(layer.op_type for layer in analysis.layers)
    text = ", ".join(f"{number} {kind}" for kind, number in kinds.most_common())
    text += f"; {able} of {len(analysis.layers)} can run int8 on {target.name}"
    shared = sum(len(group) > 1 for group in analysis.groups.values())
    return text + (f"; {write.many(shared, 'group')} sharing a constant" if shared else "")


def _layers(model: Model, analysis: Analysis, target: Target) -> RenderableType:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("name", overflow="fold")
    table.add_column("operator", no_wrap=True)
    table.add_column("weight", no_wrap=True)
    table.add_column("with it", no_wrap=True)
    table.add_column("note", overflow="fold")
    for layer in analysis.layers:
        shape = _weight_shape(model, layer)
        why = _why(layer.op_type, target, layer.weight is not None)
        notes = [why] if why else []
        if layer.group != layer.name:
            notes.append(f"shares its weight with {layer.group}")
        table.add_row(
            layer.name,
            layer.op_type,
            "two activations" if shape is None else write.shape(shape),
            " ".join(_tail(model, layer)),
            Text("; ".join(notes), style="yellow" if notes else ""),
        )
    return Padding(table, (0, 0, 0, 2))


def _weight_shape(model: Model, layer: Layer) -> list[int] | None:
    return None if layer.weight is None else _shape(model, layer.weight)


def _shape(model: Model, constant: str) -> list[int] | None:
    held = model.weights.get(constant)
    if held is not None:
        return list(np.shape(held))
    return next((list(t.dims) for t in model.proto.graph.initializer if t.name == constant), None)


def _tail(model: Model, layer: Layer) -> list[str]:
    return [model.proto.graph.node[index].op_type for index in layer.tail]


def _glue(analysis: Analysis, target: Target) -> RenderableType:
    table = Table.grid(padding=(0, 2, 0, 0))
    counts = Counter(glue.op_type for glue in analysis.glue)
    passing = {glue.op_type for glue in analysis.glue if glue.passes}
    for kind, number in counts.most_common():
        able = "" if kind in target.glue else f"no integer kernel on {target.name}"
        table.add_row(
            kind, str(number), "passes int8 through" if kind in passing else "computes", Text(able, style="yellow")
        )
    return Padding(table, (0, 0, 0, 2))


def _tables(model: Model, analysis: Analysis, target: Target) -> RenderableType:
    table = Table.grid(padding=(0, 2, 0, 0))
    for found in analysis.tables:
        shape = _shape(model, found.weight)
        readers = "" if len(found.nodes) == 1 else f"{len(found.nodes)} readers"
        note = _PICKED if _stores(target, "Gather") else f"float on {target.name}"
        table.add_row(TABLE + found.name, "" if shape is None else write.shape(shape), readers, Text(note, style="dim"))
    return Padding(table, (0, 0, 0, 2))


def _rewrites(rewrites: Mapping[str, int]) -> RenderableType:
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, sites in rewrites.items():
        table.add_row(REWRITE + name, write.many(sites, "place"), Text(SUMMARIES[name], style="dim"))
    return Padding(table, (0, 0, 0, 2))


def _refusals(analysis: Analysis) -> RenderableType:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold", ratio=2)
    table.add_column(overflow="fold", style="dim", ratio=1)
    grouped: dict[tuple[str, str], list[Refusal]] = {}
    for refusal in analysis.refusals:
        grouped.setdefault((refusal.op_type, refusal.reason), []).append(refusal)
    for (kind, reason), refusals in grouped.items():
        names = ", ".join(refusal.name for refusal in refusals[:NAMED])
        more = f" and {len(refusals) - NAMED} more" if len(refusals) > NAMED else ""
        table.add_row(kind, str(len(refusals)), reason, names + more)
    return Padding(table, (0, 0, 0, 2))
