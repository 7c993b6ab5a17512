"""The peers' strategies do what their docstrings say."""

import dataclasses

import pytest
from autoquant.strategies import words
from autoquant.strategies.base import Probe, Score, Stop
from autoquant.strategies.peers.aimet import Aimet
from autoquant.strategies.peers.inc import Inc, configurations
from autoquant.strategies.peers.nncf import Nncf
from autoquant.strategies.peers.units import fallen, plain, units
from autoquant.strategies.recipes import floats_of, glue_of

from tests.strategies.simulator import Problem, make_space, run

PEERS = (Inc, Nncf, Aimet)


def floats(problem, recipe):
    """What fell back in a recipe: layers and glue."""
    glue = set(problem.space.ops).difference(glue_of(problem.space, recipe))
    return {*floats_of(problem.space, recipe), *glue}


@pytest.fixture(scope="module")
def rewriting():
    """A space with two rewrites and a calibrator for each layer."""
    space = make_space(8, seed=2)
    more = {"rewrite/hardswish": ("on", "off"), "rewrite/pad": ("on", "off")}
    own = {f"calibrator/node_{i:03d}": ("inherit", *words.CALIBRATORS) for i in range(8)}
    return dataclasses.replace(
        space, choices={**space.choices, **more, **own}, offered={**space.offered, **more, **own}
    )


@pytest.mark.parametrize("strategy", PEERS)
def test_they_leave_rewrites_off_and_calibrators_global(strategy, rewriting):
    done = run(Problem(rewriting, seed=2, total=4.0), strategy(), max_trials=60)
    for action in done.actions:
        if not isinstance(action, Stop):
            assert {value for name, value in action.recipe.items() if name.startswith(words.REWRITE)} == {"off"}
            assert {value for name, value in action.recipe.items() if name.startswith(words.CALIBRATOR_OF)} == {
                "inherit"
            }


@pytest.mark.parametrize("strategy", PEERS)
def test_all_int8_first_and_the_end_where_it_holds(strategy):
    problem = Problem(make_space(10, seed=1), seed=1, total=0.05, glue_drop=0.01)
    done = run(problem, strategy())
    assert len(done.history.trials) == 1
    assert not floats(problem, done.best.recipe)
    assert done.reason


@pytest.mark.parametrize("strategy", PEERS)
@pytest.mark.parametrize("objective", ["ops", "latency"])
def test_timing_does_not_change_what_they_do(strategy, objective):
    cheap = Problem(make_space(10, seed=4), seed=4, total=4.0, objective=objective)
    dear = Problem(make_space(10, seed=4), seed=4, total=4.0, objective=objective, glue_gain={"Add": 0.3})
    first, second = run(cheap, strategy(), max_trials=50), run(dear, strategy(), max_trials=50)
    assert first.actions == second.actions


@pytest.mark.parametrize("strategy", PEERS)
def test_the_first_that_holds_ends_it(strategy):
    done = run(Problem(make_space(12, seed=6), seed=6, total=4.0), strategy(), max_trials=80)
    held = [trial.number for trial in done.history.trials if done.history.feasible(trial)]
    assert held
    if strategy is not Aimet:  # a binary search goes on between what holds and what does not
        assert held == [len(done.history.trials) - 1]


def test_inc_goes_through_its_stages_in_order():
    problem = Problem(make_space(10, seed=3), seed=3, total=9.0, spread=0.6)
    trials = run(problem, Inc(), max_trials=80).history.trials
    count = len(configurations(problem.space))
    assert count == 3 * 2 * 2
    assert [trial.phase for trial in trials[:count]] == ["op-type-wise"] * count
    assert not any(floats(problem, trial.recipe) for trial in trials[:count])
    best = min(trials[:count], key=lambda trial: trial.drop)
    single, later = trials[count : count + 13], trials[count + 13 :]
    assert [floats(problem, trial.recipe) for trial in single] == [{name} for name in units(problem.space)[::-1]]
    assert {trial.recipe[words.CALIBRATOR] for trial in (*single, *later)} == {best.recipe[words.CALIBRATOR]}
    ranking = [next(iter(floats(problem, trial.recipe))) for trial in sorted(single, key=lambda trial: trial.drop)]
    assert later
    for place, trial in enumerate(later):
        assert trial.phase == "accumulated"
        assert floats(problem, trial.recipe) == set(ranking[: place + 2])
    assert problem.history(trials=trials).best is trials[-1]


def test_nncf_ranks_by_restoring_and_reverts_one_at_a_time():
    problem = Problem(make_space(12, seed=5), seed=5, total=3.0, glue_drop=0.0)
    done = run(problem, Nncf())
    settings, names = plain(problem.space), units(problem.space)
    ranked = [action.recipe for action in done.actions if isinstance(action, Probe)]
    assert ranked == [fallen(problem.space, settings, [name]) for name in names]
    scored = [floats(problem, action.recipe) for action in done.actions if isinstance(action, Score)]
    order = sorted(names, key=lambda name: problem.distance(fallen(problem.space, settings, [name])))
    assert scored == [set(order[:count]) for count in range(len(scored))]
    assert done.history.feasible(done.history.trials[-1])


def test_nncf_steps_back_and_ranks_anew_after_a_second_increase():
    class Contrary(Problem):
        """Reverting anything but layer 7 makes it worse; the probes say otherwise."""

        def drop(self, recipe):
            count = len(floats(self, recipe))
            return 0.0 if recipe["layer/node_007"] != "int8" and count > 2 else 0.02 + 0.001 * count

    problem = Contrary(make_space(12, seed=5), seed=5, total=3.0)
    done = run(problem, Nncf(), max_trials=30)
    kinds = ["probe" if isinstance(action, Probe) else "score" for action in done.actions]
    first = kinds.index("score", 1)
    # one increase is tolerated, at the second the unit returns to int8 and the ranking is made anew
    assert kinds[first : first + 3] == ["score", "score", "probe"]
    sizes = [len(floats(problem, trial.recipe)) for trial in done.history.trials]
    assert sizes[:4] == [0, 1, 2, 3]


def test_aimet_makes_the_accuracy_list_and_bisects_it():
    problem = Problem(make_space(16, seed=7), seed=7, total=4.0)
    done = run(problem, Aimet())
    settings, names = plain(problem.space, calibrator="mse"), units(problem.space)
    probed = [action.recipe for action in done.actions if isinstance(action, Probe)]
    assert probed == [fallen(problem.space, settings, set(names) - {name}) for name in names]
    alone = {name: problem.distance(recipe) for name, recipe in zip(names, probed, strict=True)}
    listed = sorted(names, key=lambda name: alone[name])
    for trial in done.history.trials:
        in_float = floats(problem, trial.recipe)
        assert in_float == set(listed[len(listed) - len(in_float) :])
    assert len(done.history.trials) <= 2 + 5
    count = len(listed) - len(floats(problem, done.best.recipe))
    one_more = fallen(problem.space, settings, listed[count + 1 :])
    assert problem.drop(one_more) > problem.target


def test_aimet_says_when_not_even_one_layer_holds():
    done = run(Problem(make_space(8), total=5000.0, spread=0.1), Aimet())
    assert "least sensitive" in done.reason
    assert done.best is None
