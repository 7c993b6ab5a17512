"""The five public models: what is built is what runs, builds are quick, and onnxruntime.quantization agrees."""

import functools
import importlib.util
import os
import random
import sys
import time
from pathlib import Path

import pytest
from autoquant.evaluators.session import open_session
from autoquant.strategies.words import OP, REWRITE, REWRITE_CHOICES
from autoquant.tuner.calibration.collect import collect
from autoquant.tuner.calibration.compute import compute_ranges
from autoquant.tuner.graph.rewrite.variants import Variants
from autoquant.tuner.graph.serialize import write
from autoquant.tuner.quantization import halves
from autoquant.tuner.quantization.builder import Builder
from autoquant.tuner.quantization.passes import Passes
from autoquant.tuner.quantization.variants import Builders
from autoquant.tuner.targets.profiles import get

from tests.tuner.quantization.building import Case, differences, distance, real_case, session

TASKS = os.environ.get("AUTOQUANT_TASKS", "")
NAMES = ("cls180", "ocr_v4", "minilm_sentiment", "effnet_lite0", "ocr_v6s")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not TASKS, reason="AUTOQUANT_TASKS names no folder with the public tasks"),
]


@functools.lru_cache(maxsize=1)
def task(name: str) -> Case:
    folder = Path(TASKS) / name
    spec = importlib.util.spec_from_file_location("task_eval", folder / "eval.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(folder))
    try:
        spec.loader.exec_module(module)
        feeds = [{key: array[:2] for key, array in feed.items()} for feed in module.calibration()][:3]
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("eval", None)
    return real_case(folder / "model.onnx", feeds)


@pytest.mark.parametrize("name", NAMES)
def test_20_random_recipes_run_as_built(name):
    made = task(name)
    for recipe in (made.recipe(), made.recipe(glue="int8"), *map(made.random_recipe, range(20))):
        candidate = made.builder.build(recipe)
        assert not differences(made, candidate)


@pytest.mark.parametrize("name", NAMES)
def test_12_random_recipes_run_as_built_with_rewrites(name):
    made = task(name)
    variants = Variants(made.model, made.analysis)
    ranges = compute_ranges(collect(made.model, variants.collected, made.feeds, open_session=open_session))
    builders = Builders(made.model, variants, ranges, get("cpu"))
    assert dict(builders.faults) == dict(made.builder.faults)
    on = {REWRITE + rewrite: "on" for rewrite in variants.names}
    glue = {OP + item.op_type for item in variants.union.glue}
    extremes = [made.recipe("fp32"), made.recipe(), made.recipe(glue="int8").replace(dict.fromkeys(glue, "int8"))]
    for recipe in [each.replace(on) for each in (*extremes, *map(made.random_recipe, range(5)))]:
        assert not differences(made, builders.build(recipe))
    for seed in range(4):
        some = {parameter: random.Random(f"{seed}{parameter}").choice(REWRITE_CHOICES) for parameter in on}
        assert not differences(made, builders.build(made.random_recipe(seed).replace(some)))


@pytest.mark.parametrize("name", NAMES)
def test_file_runs_as_the_candidate(name, tmp_path):
    made = task(name)
    candidate = made.builder.build(made.random_recipe(1))
    path = tmp_path / "model.onnx"
    write(candidate.proto, candidate.weights, path)
    assert path.stat().st_size == candidate.size_bytes
    from_file = open_session(path, threads=1)
    in_memory = session(candidate)
    for feed in made.feeds:
        for one, other in zip(from_file.run(None, dict(feed)), in_memory.run(None, dict(feed)), strict=True):
            assert (one == other).all()


@pytest.mark.parametrize("name", NAMES)
def test_scaled_channels_compute_the_same_and_run_as_built(name):
    made = task(name)
    variants = Variants(made.model, made.analysis)
    ranges = compute_ranges(collect(made.model, variants.collected, made.feeds, open_session=open_session))
    source = Passes(lambda: made.feeds, open_session, ranges.samples)
    builders = Builders(made.model, variants, ranges, get("cpu"), source)
    on = {REWRITE + rewrite: "on" for rewrite in variants.names}
    scaled = {"correction/equalization": "on", "correction/smooth": "auto"}
    for rewrites in ({}, on):
        recipe = made.recipe().replace({**rewrites, **scaled})
        builder = builders.builder(recipe)
        opened = open_session(builder.model.proto.SerializeToString(), weights=builder.model.weights, threads=1)
        answers = [opened.run(None, dict(feed)) for feed in made.feeds]
        assert distance(made.float_outputs(), answers) < 1e-10  # of squares: 1e-5
        assert not differences(made, builders.build(recipe))
    assert not differences(made, builders.build(made.recipe(glue="int8").replace({**on, **scaled})))


@pytest.mark.parametrize("name", ["minilm_sentiment", "effnet_lite0"])
def test_a_build_takes_30_ms(name):
    made = task(name)
    recipe = made.recipe()
    made.builder.build(recipe)
    spent = []
    for _ in range(7):
        start = time.process_time()
        made.builder.build(recipe)
        spent.append(time.process_time() - start)
    assert min(spent) < 0.03


@pytest.mark.parametrize("name", ["cls180", "effnet_lite0"])
def test_simulation_stays_closer_to_the_kernels_than_float_does(name):
    made = task(name)
    recipe = made.recipe()
    real = made.outputs(made.builder.build(recipe))
    simulated = made.outputs(made.builder.build(recipe, simulate=True), ["WeightBiasQuantization"])
    assert distance(simulated, real) < distance(made.float_outputs(), real)


@pytest.mark.parametrize("name", ["cls180", "minilm_sentiment", "ocr_v6s"])
def test_gptq_and_bias_correction_bring_the_rounded_weights_nearer_to_float(name):
    made = task(name)
    source = Passes(lambda: made.feeds, open_session, sum(len(next(iter(feed.values()))) for feed in made.feeds))
    builder = Builder(made.model, made.analysis, made.ranges, get("cpu"), source)

    def weights_only(**chosen: str) -> float:
        recipe = made.recipe().replace({name.replace("_", "/"): choice for name, choice in chosen.items()})
        candidate = halves.weights_only(builder.build(recipe, simulate=True))
        return distance(made.float_outputs(), made.outputs(candidate, ["WeightBiasQuantization"]))

    nearest = weights_only()
    began = time.perf_counter()
    assert weights_only(correction_rounding="gptq") < nearest
    assert time.perf_counter() - began < 60
    assert weights_only(correction_rounding="gptq", correction_bias="on") < nearest
    candidate = builder.build(made.recipe().replace({"correction/rounding": "gptq", "correction/bias": "on"}))
    assert not differences(made, candidate)
    began = time.perf_counter()
    builder.build(made.recipe().replace({"correction/rounding": "gptq", "correction/bias": "on"}))
    assert time.perf_counter() - began < 1.0
