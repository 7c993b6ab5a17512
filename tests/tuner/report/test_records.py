"""Exported scales bear the names that the float model's file has."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from autoquant.errors import OptionError
from autoquant.evaluators.session import open_session
from autoquant.tuner.calibration.collect import collect
from autoquant.tuner.calibration.compute import compute_ranges
from autoquant.tuner.graph.draft import tensor_names
from autoquant.tuner.graph.load import load
from autoquant.tuner.graph.rewrite.variants import Variants
from autoquant.tuner.report.records import export
from autoquant.tuner.study.calibrate import RANGES
from autoquant.tuner.study.space import build_space
from autoquant.tuner.study.store import Store
from autoquant.tuner.targets.profiles import get

from tests import zoo
from tests.tuner.study.storing import make_store, measured


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Of the transformer, with one trial: all rewrites made, every layer in int8."""
    folder = tmp_path_factory.mktemp("study")
    proto = zoo.transformer()
    model = load(zoo.save(proto, folder / "model.onnx"))
    variants = Variants(model)
    ranges = compute_ranges(collect(model, variants.collected, zoo.feeds(proto), open_session=open_session))
    space = build_space(variants.union, get("cpu"), calibrated=variants.union.tensors, rewrites=variants.names)
    recipe = space.default().replace(dict.fromkeys(space.ops, "fp32"))
    store = make_store(
        folder / "study.db",
        space=space,
        attributes={
            "fingerprint": {"model": model.fingerprint, "evaluation": "", "calibration": ""},
            "build": {"target": get("cpu").to_json()},
            "model": str(model.path),
            RANGES: ranges.to_json(),
        },
    )
    store.complete(store.start(recipe, "search"), measured())
    return store


def test_scales_go_back_through_a_factor(study: Store, tmp_path: Path) -> None:
    model = load(Path(study.get("model")))
    image = Variants(model).full.derived["q/scaled"]
    record = export(study, 0, tmp_path / "record", "json-record")
    assert record.warnings == ()
    tensors = json.loads(record.path.read_text())["tensors"]
    scaled = [name for name in tensors if name.endswith("/scaled")]
    assert scaled
    made = export(study, 0, tmp_path / "encodings", "qnn-encodings")
    found = json.loads(made.path.read_text())["activation_encodings"]
    assert not [name for name in found if name.endswith("/scaled")]
    for name in scaled:
        (encoding,) = found[name.removesuffix("/scaled")]
        assert encoding["scale"] == pytest.approx(tensors[name]["scale"] / np.float32(image.factor), rel=1e-6)
        assert -encoding["offset"] == tensors[name]["offset"]


@pytest.mark.parametrize("form", ["tensorrt-cache", "qnn-encodings"])
def test_nothing_is_named_that_the_file_lacks(form: str, study: Store, tmp_path: Path) -> None:
    made = export(study, "best", tmp_path / "x", form)
    text = made.path.read_text()
    if form == "tensorrt-cache":
        named = {line.rpartition(": ")[0] for line in text.splitlines()[1:]}
    else:
        data = json.loads(text)
        named = {*data["activation_encodings"], *data["param_encodings"]}
    assert named
    assert named <= tensor_names(zoo.transformer().graph)
    everything = json.loads(export(study, "best", tmp_path / "all", "json-record").path.read_text())["tensors"]
    if len(named) < len(everything) and form == "qnn-encodings":
        assert "the float model's file does not have them" in made.warnings[0]


def test_there_are_four_formats(study: Store, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="--format must be one of qdq, tensorrt-cache, qnn-encodings, json-record"):
        export(study, 0, tmp_path / "x", "amct")
    assert not (tmp_path / "x").exists()
