import json
import math
from typing import Any

import pytest
from autoquant.strategies.base import Profile
from autoquant.strategies.words import PROFILE
from autoquant.tuner.study.probes import PROBE, Probes

from tests.tuner.study.storing import SCORED_ON, make_space

SPACE = make_space(3)
ONE = SPACE.default()
OTHER = ONE.replace({"layer/block.0/Conv": "fp32"})
HERE, ELSEWHERE = SCORED_ON, {**SCORED_ON, "runtime": "2.0"}
TIMES = Profile({"layer/block.0/Conv": 0.5}, {"Add": 0.1}, 0.2, 0.8)


def stored(*entries: tuple[str, Any, Any, Any]) -> Probes:
    """What a database would give back."""
    probes = Probes(SPACE.choices)
    rows = []
    for number, entry in enumerate(entries):
        ((key, held),) = probes.attribute(*entry).items()
        assert key.startswith(f"{PROBE}{entry[0]}/")
        rows.append((number, key, json.loads(json.dumps(held, allow_nan=False))))
    probes.take(rows)
    assert probes.last == len(entries) - 1
    return probes


def test_values_come_back_by_kind_and_recipe() -> None:
    found = stored(("kl", ONE, 0.25, None), ("kl", OTHER, math.inf, None), ("cosine", ONE, 0.5, None)).values(None)
    assert found == {("kl", ONE): 0.25, ("kl", OTHER): math.inf, ("cosine", ONE): 0.5}


def test_what_was_timed_elsewhere_is_left_out() -> None:
    probes = stored(("latency", ONE, 0.7, ELSEWHERE), ("latency", OTHER, 0.6, HERE), ("kl", ONE, 0.1, None))
    assert probes.values(HERE) == {("latency", OTHER): 0.6, ("kl", ONE): 0.1}
    assert len(probes.values(None)) == 3


def test_the_same_recipe_is_timed_on_each_machine_anew() -> None:
    probes = Probes(SPACE.choices)
    keys = [next(iter(probes.attribute("latency", ONE, 0.7, on))) for on in (HERE, ELSEWHERE, None)]
    assert len(set(keys)) == 3


def test_profiles_come_back_whole() -> None:
    probes = stored((PROFILE, ONE, TIMES, HERE), (PROFILE, OTHER, TIMES, ELSEWHERE))
    assert probes.profiles(HERE) == {ONE: TIMES}
    assert probes.values(HERE) == {}
    failed = stored((PROFILE, ONE, None, HERE))
    assert failed.profiles(HERE) == {}
    assert failed.values(HERE) == {(PROFILE, ONE): math.inf}


def test_a_recipe_of_other_parameters_cannot_be_written() -> None:
    with pytest.raises(KeyError):
        Probes(make_space(4).choices).attribute("kl", ONE, 0.1, None)
