"""The strategy for the front of cost against drop, on synthetic problems."""

import pytest
from autoquant.strategies import base, words
from autoquant.strategies.auto import Auto
from autoquant.strategies.front import front, loss, volume
from autoquant.strategies.pareto import TRIALS, Pareto
from autoquant.strategies.registry import make

from tests.strategies.simulator import Problem, check_contract, make_space, run

KINDS = {
    "few layers matter": {"total": 4.0, "spread": 2.5, "mismatch": 0.5},
    "all-int8 holds": {"total": 0.5},
    "probes mislead": {"total": 3.0, "mismatch": 1.2, "jitter": 0.2},
    "latency": {"total": 3.0, "objective": "latency", "clock": 0.01, "glue_gain": {"Add": 0.1}},
}


def area(done, problem):
    return volume([(loss(trial.drop, problem.target), trial.cost) for trial in front(done.history)])


@pytest.mark.parametrize("kind", KINDS)
def test_a_front_better_than_any_other_strategy_s_within_the_budget(kind):
    problem = Problem(make_space(40), **KINDS[kind])
    done = run(problem, Pareto())
    assert len(done.history.trials) <= TRIALS
    assert "a front of" in done.reason
    assert len(front(done.history)) >= 10
    for other in ("auto", "tpe", "random"):
        assert area(done, problem) > area(run(problem, make(other), max_trials=TRIALS), problem)


def test_the_target_s_own_point_is_among_them():
    """The cheapest that holds is nearly as good as where that alone is searched for."""
    problem = Problem(make_space(40), total=3.0, mismatch=0.5)
    alone, along = run(problem, Auto(), max_trials=TRIALS).best, run(problem, Pareto()).best
    assert along.cost <= 1.3 * alone.cost


def test_points_lie_on_both_sides_of_the_target():
    problem = Problem(make_space(40), total=3.0)
    drops = [trial.drop / problem.target for trial in front(run(problem, Pareto()).history)]
    assert sum(drop < 1.0 for drop in drops) >= 4
    assert sum(drop > 1.0 for drop in drops) >= 3


@pytest.mark.parametrize("kind", KINDS)
def test_it_keeps_the_contract(kind):
    problem = Problem(make_space(12, seed=3), seed=3, **KINDS[kind])
    check_contract(Pareto, problem, max_trials=20)


def test_a_budget_is_kept_and_a_larger_one_used():
    problem = Problem(make_space(30), total=3.0, mismatch=0.7, jitter=0.1)
    few, many = (run(problem, Pareto(), max_trials=trials) for trials in (8, 30))
    assert len(few.history.trials) == 8
    assert area(many, problem) > area(few, problem)


def test_auto_leaves_a_front_to_it():
    class Asked(Problem):
        def history(self, **known):
            return super().history(**known, pareto=True)

    problem = Asked(make_space(20), total=2.5)
    asked, named = run(problem, Auto(), max_trials=12), run(problem, Pareto(), max_trials=12)
    assert asked.actions == named.actions


def test_glue_is_in_int8_where_that_is_faster():
    problem = Problem(
        make_space(20), total=1.0, objective="latency", glue_gain={"Add": 0.1, "Mul": 0.05, "Concat": 0.02}
    )
    done = run(problem, Pareto())
    assert any(trial.recipe.glue("int8") for trial in front(done.history))


def test_nothing_to_choose_is_said():
    space = make_space(3)
    fixed = {name: ("int8",) if name.startswith(words.LAYER) else values for name, values in space.offered.items()}
    done = run(Problem(base.Space(space.choices, fixed, space.shares)), Pareto())
    assert "one point" in done.reason
