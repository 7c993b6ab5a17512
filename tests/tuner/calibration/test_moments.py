"""Moments against all rows at once."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from autoquant.errors import CalibrationError
from autoquant.evaluators.session import open_session
from autoquant.tuner.calibration import collect, moments
from autoquant.tuner.calibration.rows import Form, form_of, sample
from autoquant.tuner.graph.index import GraphIndex

from tests.tuner.quantization.building import Case, zoo_case

OPEN = partial(open_session, threads=1)


def forms(made: Case) -> list[Form]:
    index = GraphIndex(made.model.proto.graph)
    found = [
        form_of(layer, made.model.proto.graph.node[layer.node], tuple(index.initializers[layer.weight].dims))
        for layer in made.analysis.layers
        if layer.weight
    ]
    return [form for form in found if isinstance(form, Form)]


def rows(made: Case, form: Form) -> np.ndarray:
    """All rows of all feeds, float64 [groups, rows, K]."""
    session = OPEN(collect.with_outputs(made.model.proto, [form.tensor]), weights=made.model.weights)
    values = [feed.get(form.tensor, None) for feed in made.feeds]
    if values[0] is None:
        values = [session.run([form.tensor], dict(feed))[0] for feed in made.feeds]
    every = [sample(form, value, 10**9, np.random.default_rng(0)) for value in values]
    return np.concatenate(every, axis=1).astype(np.float64)


@pytest.mark.parametrize("name", ["conv_net", "transformer", "two_input_net"])
@pytest.mark.parametrize("samples", [0, 8])
def test_means_and_hessians_are_those_of_all_rows(name, samples):
    made = zoo_case(name)
    wanted = forms(made)
    found = moments.moments(made.model, wanted, made.feeds, open_session=OPEN, hessians=wanted, samples=samples)
    assert found.keys() == set(wanted)
    for form, moment in found.items():
        every = rows(made, form)
        scale = np.abs(every).max()
        np.testing.assert_allclose(moment.mean, every.mean(axis=1), atol=1e-6 * scale, rtol=1e-6)
        hessian = every.transpose(0, 2, 1) @ every / every.shape[1]
        assert moment.hessian is not None
        np.testing.assert_allclose(moment.hessian, hessian, atol=1e-5 * scale**2, rtol=1e-4)


def test_of_many_rows_a_hessian_sees_some_of_each_sample(monkeypatch):
    monkeypatch.setattr(moments, "_FEWEST", 512)
    monkeypatch.setattr(moments, "_ROWS", 0)
    drawn = []

    def watched(form, values, count, random):
        drawn.append((form, count))
        return sample(form, values, count, random)

    monkeypatch.setattr(moments, "sample", watched)
    made = zoo_case("conv_net")
    wanted = forms(made)
    given = {"open_session": OPEN, "hessians": wanted[:2], "samples": 8}
    found = moments.moments(made.model, wanted, made.feeds, **given)
    assert drawn == [(form, 128) for _ in made.feeds for form in wanted[:2]]  # of feeds with 2 samples each
    assert [found[form].hessian is not None for form in wanted[:3]] == [True, True, False]
    again = moments.moments(made.model, wanted[:1], made.feeds, **{**given, "hessians": wanted[:1]})
    np.testing.assert_array_equal(again[wanted[0]].hessian, found[wanted[0]].hessian)
    other = moments.moments(made.model, wanted[:1], made.feeds, **{**given, "hessians": wanted[:1], "seed": 1})
    assert (other[wanted[0]].hessian != found[wanted[0]].hessian).any()
    whole = moments.moments(made.model, wanted[:1], made.feeds, **{**given, "hessians": wanted[:1], "samples": 0})
    assert np.linalg.norm(found[wanted[0]].hessian - whole[wanted[0]].hessian) < 0.5 * np.linalg.norm(
        whole[wanted[0]].hessian
    )


def test_a_feed_in_parts_gives_the_same(monkeypatch):
    made = zoo_case("conv_net")
    wanted = forms(made)
    whole = moments.moments(made.model, wanted, made.feeds, open_session=OPEN, hessians=wanted)
    monkeypatch.setattr(collect, "ACTIVATION_BYTES", 1)
    parts = moments.moments(made.model, wanted, made.feeds, open_session=OPEN, hessians=wanted)
    for form in wanted:
        np.testing.assert_allclose(parts[form].mean, whole[form].mean, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(parts[form].hessian, whole[form].hessian, rtol=1e-4, atol=1e-4)


def test_progress_counts_samples():
    made = zoo_case("conv_net")
    told: list[int] = []
    moments.moments(made.model, forms(made), made.feeds, open_session=OPEN, progress=told.append)
    assert told == [2, 4, 6, 8]


def test_what_cannot_be_summed_is_said():
    made = zoo_case("conv_net")
    feeds = [{"x": np.full((2, 3, 16, 16), np.inf, np.float32)}]
    with pytest.raises(CalibrationError, match="bring infinity or NaN into 'x'"):
        moments.moments(made.model, forms(made), feeds, open_session=OPEN)
    with pytest.raises(CalibrationError, match="No calibration samples"):
        moments.moments(made.model, forms(made), [], open_session=OPEN)
