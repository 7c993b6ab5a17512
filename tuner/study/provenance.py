"""What a delivered model says of itself."""

from __future__ import annotations

import json

import onnx

from ... import __version__
from ...strategies.base import Recipe
from ..graph.model import Model
from ..targets.base import Target
from .trial import recipe_hash


def stamp(proto: onnx.ModelProto, model: Model, recipe: Recipe, target: Target) -> None:
    """Write the provenance into the model's metadata, in place.

    Nothing of time, path or host is in it: rebuilds are bit-equal.
    """
    entries = {
        "autoquant.version": __version__,
        "autoquant.float_model": model.fingerprint,
        "autoquant.target": target.name,
        "autoquant.recipe_hash": recipe_hash(recipe),
        "autoquant.recipe": json.dumps(dict(recipe), sort_keys=True),
    }
    kept = [entry for entry in proto.metadata_props if entry.key not in entries]
    del proto.metadata_props[:]
    proto.metadata_props.extend(kept)
    for key, value in entries.items():
        proto.metadata_props.add(key=key, value=value)
