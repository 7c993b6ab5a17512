"""All rewrites on the models of the zoo."""

from __future__ import annotations

import itertools

import pytest
from autoquant.tuner.graph.analyse import analyse
from autoquant.tuner.graph.index import reads
from autoquant.tuner.graph.rewrite.registry import REWRITES, SUMMARIES, rewritten
from autoquant.tuner.graph.rewrite.variants import Variants
from autoquant.tuner.graph.shapes import element_types

from tests import zoo
from tests.tuner.graph.rewrite.making import answers, loaded, near, same

MODELS = sorted(zoo.ALL)


@pytest.mark.parametrize("name", MODELS)
def test_the_zoo_answers_the_same(name):
    proto = zoo.ALL[name]()
    before = loaded(proto)
    found = rewritten(before)
    assert Variants(before).names == tuple(found.sites)
    for feed in zoo.feeds(proto, 2):
        old, new = answers(before, feed), answers(found.model, feed)
        for output in old:
            near(new[output], old[output], 1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_layers_keep_their_names_and_tensors_their_types(name):
    before = loaded(zoo.ALL[name]())
    found = rewritten(before).model
    old, new = analyse(before), analyse(found)
    kinds = [(layer.name, layer.op_type, layer.group, layer.weight) for layer in old.layers]
    assert [(layer.name, layer.op_type, layer.group, layer.weight) for layer in new.layers] == kinds
    types, others = element_types(before.proto), element_types(found.proto)
    assert all(others[tensor] == types[tensor] for tensor in others.keys() & types.keys())
    assert list(found.proto.graph.output) == list(before.proto.graph.output)


@pytest.mark.parametrize("name", MODELS)
def test_nodes_are_sorted_and_names_unique(name):
    graph = rewritten(loaded(zoo.ALL[name]())).model.proto.graph
    known = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        assert reads(node) <= known
        known.update(node.output)
    assert len({node.name for node in graph.node}) == len(graph.node)


@pytest.mark.parametrize("name", MODELS)
def test_once_is_enough(name):
    assert not rewritten(rewritten(loaded(zoo.ALL[name]())).model).sites


def test_the_zoo_has_sites():
    assert "hardswish" in rewritten(loaded(zoo.hardswish_net())).sites
    assert {"gelu", "layernorm"} <= rewritten(loaded(zoo.transformer())).sites.keys()


@pytest.mark.parametrize("name", ["hardswish_net", "transformer", "if_net"])
def test_any_set_of_rewrites(name):
    proto = zoo.ALL[name]()
    before = loaded(proto)
    names = tuple(rewritten(before).sites)
    for some in itertools.chain.from_iterable(itertools.combinations(names, n) for n in range(len(names) + 1)):
        same(before, some, zoo.feeds(proto, 1)[0])


def test_weights_are_shared():
    before = loaded(zoo.transformer())
    found = rewritten(before, ["gelu", "layernorm"]).model
    assert before.weights
    assert all(found.weights[name] is array for name, array in before.weights.items() if name in found.weights)


def test_an_unknown_name():
    with pytest.raises(KeyError, match="no rewrite 'nonsense'; there are"):
        rewritten(loaded(zoo.conv_net()), ["nonsense"])


def test_without_a_site_the_model_is_itself():
    before = loaded(zoo.nothing_net())
    assert rewritten(before, REWRITES).model is before


def test_variants_are_made_once():
    variants = Variants(loaded(zoo.hardswish_net()))
    assert variants.get(()).model is variants.model
    assert variants.get(["hardswish", "nonsense"]) is variants.get(["hardswish"]) is not variants.get(())
    assert variants.full is variants.get(variants.names)


def test_variants_collect_what_the_original_has():
    variants = Variants(loaded(zoo.hardswish_net()))
    written = {name for node in variants.model.proto.graph.node for name in node.output}
    written |= {value.name for value in variants.model.proto.graph.input}
    assert set(variants.analysis.tensors) <= set(variants.collected) <= written
    assert {image.source for image in variants.full.derived.values()} <= set(variants.collected)
    new = set(variants.full.analysis.tensors) - set(variants.collected)
    assert new <= set(variants.full.derived)
    assert set(variants.union.tensors) == set(variants.analysis.tensors) | set(variants.full.analysis.tensors)
    types = [glue.op_type for glue in variants.union.glue]
    assert set(types) == {g.op_type for v in (variants.get(()), variants.full) for g in v.analysis.glue}


def test_what_a_rewrite_takes_away_is_not_usual():
    variants = Variants(loaded(zoo.hardswish_net()))
    assert set(variants.usual) < set(variants.collected)
    for layer in variants.analysis.layers:
        assert {*layer.inputs, layer.output} <= set(variants.usual)
    needed = set(variants.full.analysis.tensors) - set(variants.full.derived)
    assert needed | {image.source for image in variants.full.derived.values()} <= set(variants.usual)
    plain = Variants(loaded(zoo.conv_net()))
    assert plain.names or plain.usual == plain.collected


def test_each_has_a_summary():
    assert list(SUMMARIES) == list(REWRITES)
