import json
import math
from typing import Any

from autoquant.strategies.auto import Auto
from autoquant.strategies.base import History, Outcome, Recipe
from autoquant.strategies.certificate import Certificate, Refutation, certificate
from autoquant.strategies.recipes import compose, floats_of

from tests.strategies.simulator import Problem, make_space, run

SPACE = make_space(5, ops=())
FLOATS = SPACE.layers[:3]
DELIVERED = compose(SPACE, {}, floats=FLOATS)


def flipped(name: str) -> Recipe:
    return SPACE.canonical(DELIVERED.replace({name: "int8"}))


def trial(number: int, recipe: Recipe, state: str, drop: float | None, cost: float | None) -> Outcome:
    return Outcome(number, recipe, state, None, drop, cost, cost_noise=0.02)  # type: ignore[arg-type]


def known(*trials: Outcome, **more: Any) -> Certificate:
    own = trial(0, DELIVERED, "complete", 0.005, 0.6)
    values: dict[str, Any] = {"objective": "latency", **more}
    return certificate(History(SPACE, 0.01, trials=(own, *trials), **values), DELIVERED)


def hows(of: Certificate) -> list[str]:
    return [layer.how for layer in of.layers]


def test_scores_and_races_beyond_the_target_refute() -> None:
    first, second, third = (flipped(name) for name in FLOATS)
    found = known(trial(1, first, "complete", 0.02, 0.5), trial(2, second, "pruned", 0.011, None))
    assert found.layers[0] == Refutation("node_000", "scored", 0.02, 0.5, 1)
    assert found.layers[1] == Refutation("node_001", "raced", 0.011, None, 2)
    assert found.layers[2] == Refutation("node_002", "open")
    assert (str(found), found.refuted, found.complete) == ("2 of 3", 2, False)
    whole = known(*(trial(i, recipe, "pruned", 0.02, None) for i, recipe in enumerate((first, second, third), 1)))
    assert (str(whole), whole.complete) == ("complete", True)


def test_what_is_not_faster_beyond_noise_is_refuted_and_what_is_faster_is_not() -> None:
    first, second, third = (flipped(name) for name in FLOATS)
    found = known(
        trial(1, first, "complete", 0.004, 0.599),
        trial(2, second, "complete", 0.004, 0.5),
        probes={("latency", third): 0.61},
    )
    assert hows(found) == ["slower", "open", "slower"]
    assert found.layers[1].trial == 2, "it holds and is faster: the recipe is not minimal"
    assert found.layers[2].cost == 0.61
    faster = known(probes={("latency", first): 0.5, ("latency", second): math.inf})
    assert hows(faster) == ["open", "failed", "open"]


def test_a_latency_probe_says_nothing_where_latency_is_not_asked_for() -> None:
    assert hows(known(objective="size", probes={("latency", flipped(FLOATS[0])): 2.0})) == ["open"] * 3


def test_a_failed_candidate_cannot_be_had() -> None:
    assert hows(known(trial(1, flipped(FLOATS[0]), "failed", None, None)))[0] == "failed"


def test_other_company_proves_nothing() -> None:
    both = SPACE.canonical(DELIVERED.replace(dict.fromkeys(FLOATS[:2], "int8")))
    assert hows(known(trial(1, both, "complete", 0.5, 0.4))) == ["open"] * 3


def test_without_float_layers_it_is_complete() -> None:
    recipe = compose(SPACE, {})
    found = certificate(History(SPACE, 0.01, trials=(trial(0, recipe, "complete", 0.0, 0.5),)), recipe)
    assert (str(found), found.to_json()["of"]) == ("complete", 0)


def test_auto_ends_with_a_complete_one() -> None:
    problem = Problem(make_space(20), total=3.0, mismatch=0.5)
    done = run(problem, Auto())
    assert done.best is not None
    found = certificate(done.history, done.best.recipe)
    assert found.complete
    assert len(found.layers) == len(floats_of(problem.space, done.best.recipe)) > 0
    data = json.loads(json.dumps(found.to_json(), default=float))
    assert data["status"] == "complete"
    assert all(layer["refuted"] and layer["trial"] is not None for layer in data["layers"])
