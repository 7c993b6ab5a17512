"""Every strategy keeps the contract of `Strategy`."""

import pytest
from autoquant.strategies.base import Outcome, Stop
from autoquant.strategies.registry import NAMES, make

from tests.strategies.simulator import Problem, check_contract, make_space, run

AVAILABLE = [name for name in NAMES if name != "gp"]
"""`gp` needs torch and takes seconds a draw: test_samplers.py holds it to the contract."""
PROBLEMS = {
    "fallbacks": {"total": 2.5, "mismatch": 0.7, "jitter": 0.2},
    "easy": {"total": 0.5},
    "impossible": {"total": 3000.0, "spread": 0.1},
    "latency": {"total": 2.0, "objective": "latency", "clock": 0.01},
}


@pytest.mark.parametrize("name", AVAILABLE)
@pytest.mark.parametrize("kind", PROBLEMS)
def test_next_is_a_pure_function_of_the_history(name, kind):
    problem = Problem(make_space(12, seed=3), seed=3, **PROBLEMS[kind])
    check_contract(lambda: make(name), problem, max_trials=24)


@pytest.mark.parametrize("name", AVAILABLE)
@pytest.mark.parametrize("precisions", [("int8", "weight8", "int4", "fp32"), ("int8", "int16", "fp32")])
def test_precisions_beside_int8_are_searched_alike(name, precisions):
    objective = "size" if "int4" in precisions else "ops"
    space = make_space(8, seed=3, precisions=precisions)
    done = check_contract(lambda: make(name), Problem(space, seed=3, total=2.0, objective=objective), max_trials=24)
    assert name == "exhaustive" or done.best is not None


@pytest.mark.parametrize("name", AVAILABLE)
def test_failed_trials_are_not_repeated_and_do_not_block(name):
    problem = Problem(make_space(8, seed=1), seed=1, total=2.0)
    done = run(problem, make(name), max_trials=40, fail=lambda number: number % 3 == 0)
    assert len({trial.recipe for trial in done.history.trials}) == len(done.history.trials)
    assert name == "exhaustive" or done.best is not None


@pytest.mark.parametrize("name", AVAILABLE)
def test_all_trials_failing_comes_to_an_end(name):
    problem = Problem(make_space(6, seed=1, ops=()), seed=1, total=2.0)
    done = run(problem, make(name), max_trials=60, fail=lambda number: True)
    assert done.best is None


@pytest.mark.parametrize("name", AVAILABLE)
def test_a_tiny_space_is_exhausted_with_a_reason(name):
    problem = Problem(make_space(2, seed=0, ops=(), calibrators=("percentile_99.99",)), total=5.0, needed=())
    done = run(problem, make(name))
    assert isinstance(done.actions[-1], Stop)
    assert done.reason


@pytest.mark.parametrize("name", AVAILABLE)
def test_scores_lent_by_a_sibling_are_not_asked_for(name):
    problem = Problem(make_space(10, seed=5), seed=5, total=2.5)
    sibling = run(problem, make("random"), max_trials=30).history
    lent = problem.history(trials=sibling.trials, probes=dict(sibling.probes))
    done = run(problem, make(name), max_trials=60, start=lent)
    assert len({trial.recipe for trial in done.history.trials}) == len(done.history.trials)


@pytest.mark.parametrize("name", AVAILABLE)
def test_another_budget_continues(name):
    problem = Problem(make_space(10, seed=5), seed=5, total=2.5)
    short = run(problem, make(name), max_trials=5).history
    start = problem.history(trials=short.trials, probes=dict(short.probes), max_trials=30)
    done = run(problem, make(name), max_trials=30, start=start)
    assert done.history.trials[: len(short.trials)] == short.trials


@pytest.mark.parametrize("name", AVAILABLE)
def test_pruned_trials_count_as_infeasible(name):
    problem = Problem(make_space(10, seed=2), seed=2, total=2.5)

    class Raced(Problem):
        """Stops infeasible candidates early: a lower bound of the drop, no cost."""

        def outcome(self, number, action):
            told = super().outcome(number, action)
            if told.drop <= self.target:
                return told
            bound = min(told.drop, 1.2 * self.target)
            return Outcome(number, action.recipe, "pruned", None, bound, None, action.phase)

    raced = Raced(problem.space, seed=2, total=2.5)
    done = run(raced, make(name), max_trials=40)
    assert all(trial.state == "complete" for trial in done.history.trials if done.history.feasible(trial))
    assert name == "exhaustive" or done.best is not None
