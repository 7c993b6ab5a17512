"""Corrections of weights and biases, chosen by probes before any layer falls back."""

import dataclasses
from types import MappingProxyType

import pytest
from autoquant.strategies import informed, words
from autoquant.strategies.arms import arms_of
from autoquant.strategies.auto import Auto
from autoquant.strategies.base import Score, Space
from autoquant.strategies.corrections import correct
from autoquant.strategies.informed import Informed
from autoquant.strategies.pareto import Pareto
from autoquant.strategies.recipes import activation_settings, compose, floats_of, settings_of
from autoquant.strategies.replay import replay
from autoquant.strategies.sensitivity import known

from tests.strategies.simulator import Problem, check_contract, make_space, run
from tests.strategies.test_parts import follow

OF_EACH = {words.WEIGHT_RANGE: words.WEIGHT_RANGES, words.ROUNDING: words.ROUNDINGS, words.BIAS: words.BIASES}


def with_corrections(space: Space) -> Space:
    return Space({**space.choices, **OF_EACH}, {**space.offered, **OF_EACH}, space.shares)


class Correctable(Problem):
    """GPTQ and the biases each take some of the error, ranges of least error add to it."""

    effect = MappingProxyType({words.ROUNDING: 0.5, words.BIAS: 0.8, words.WEIGHT_RANGE: 1.3})

    measured = 0.9  # biases measured instead of computed: nearly of as little use

    def _scale(self, recipe):
        scale = super()._scale(recipe)
        for name, factor in self.effect.items():
            if recipe[name] != OF_EACH[name][0]:
                scale *= factor
        return scale * (self.measured if recipe[words.BIAS] == words.EMPIRICAL else 1.0)


def correctable(**problem) -> Correctable:
    return Correctable(with_corrections(make_space(12, seed=4)), seed=4, **{"total": 2.0, **problem})


def start(problem: Problem):
    best = next(s for s in activation_settings(problem.space) if s[words.CALIBRATOR] == problem.best_calibrator)
    return problem.outcome(0, Score(compose(problem.space, best), "screen"))


def test_what_lowers_the_distance_is_combined_and_scored_once():
    problem = correctable()
    first = start(problem)
    assert first.drop > problem.target
    found, scored = follow(correct(problem.history(trials=(first,)), first), problem)
    assert scored == [found.recipe]
    assert found.recipe == first.recipe.replace({words.ROUNDING: "gptq", words.BIAS: "on"})
    assert found.drop < problem.target


class Scalable(Correctable):
    """Rounding weights causes little of the distance; channels of very different size do."""

    smoothed, both, equalized = 0.4, 0.3, 1.0

    def _scale(self, recipe):
        on = recipe[words.SMOOTH] == "auto", recipe[words.EQUALIZATION] == "on"
        factor = {(True, False): self.smoothed, (True, True): self.both, (False, True): self.equalized}.get(on, 1.0)
        return super()._scale(recipe) * factor


def scalable(kind: type[Scalable] = Scalable, **problem) -> Scalable:
    scaled = {words.EQUALIZATION: words.EQUALIZATIONS, words.SMOOTH: words.SMOOTHS}
    space = with_corrections(make_space(12, seed=4))
    space = Space({**space.choices, **scaled}, {**space.offered, **scaled}, space.shares)
    return kind(space, seed=4, **{"total": 2.0, **problem})


def test_channels_are_scaled_where_activations_cause_the_distance():
    problem = scalable(of_weights=0.1)
    first = start(problem)
    found, scored = follow(correct(problem.history(trials=(first,)), first), problem)
    assert scored == [first.recipe.replace({words.SMOOTH: "auto", words.EQUALIZATION: "on"})]
    assert found.drop < first.drop


def test_of_two_scalings_the_better_one_goes_on_and_weights_are_corrected_on_top():
    class Weighty(Scalable):
        both = 0.6

    problem = scalable(Weighty, total=6.0)
    first = start(problem)
    _, scored = follow(correct(problem.history(trials=(first,)), first), problem)
    mended = first.recipe.replace({words.ROUNDING: "gptq", words.BIAS: "on"})
    measured = mended.replace({words.BIAS: words.EMPIRICAL})
    assert scored[:3] == [mended, measured, mended.replace({words.SMOOTH: "auto"})]


def test_channels_are_left_alone_where_corrected_weights_hold():
    problem = scalable()
    first = start(problem)
    found, scored = follow(correct(problem.history(trials=(first,)), first), problem)
    assert scored == [found.recipe] == [first.recipe.replace({words.ROUNDING: "gptq", words.BIAS: "on"})]


class Slowed(Scalable):
    """Scaled channels hold the target, but take time: more than the fallbacks of two layers."""

    smoothed, both = 0.2, 0.1
    muls = 1.0

    def cost(self, recipe):
        on = any(recipe[name] == "int8" for name in self.space.layers) and recipe[words.SMOOTH] != "off"
        return super().cost(recipe) * (self.muls if on else 1.0)


@pytest.mark.parametrize(("muls", "expected"), [(1.0, ["correct"]), (1.05, ["bisect", "correct"]), (9.0, ["bisect"])])
def test_where_the_clock_counts_scaled_channels_compete_with_fallbacks(muls, expected):
    problem = scalable(Slowed, total=6.0, objective="latency")
    problem.muls = muls
    done = run(problem, Auto(), max_trials=30)
    smoothed = [trial for trial in done.history.trials if trial.recipe[words.SMOOTH] != "off"]
    mended = [trial for trial in done.history.trials if trial.phase == "correct" and trial not in smoothed]
    after = [trial.phase for trial in done.history.trials if trial.number > mended[-1].number]
    assert [phase for phase in dict.fromkeys(after) if phase != "certify"] == expected
    assert bool(smoothed) == ("correct" in expected)
    assert done.best is not None
    assert (done.best in smoothed) == bool(smoothed)


def test_with_channels_scaled_the_other_symmetry_may_be_the_better_one():
    class Turned(Scalable):
        def _scale(self, recipe):
            turned = recipe[words.ACTIVATION_SYMMETRY] != first.recipe[words.ACTIVATION_SYMMETRY]
            return super()._scale(recipe) * (0.5 if turned and recipe[words.SMOOTH] == "auto" else 1.0)

    problem = scalable(Scalable, of_weights=0.1)
    first = start(problem)
    problem = scalable(Turned, of_weights=0.1)
    (other,) = set(words.SYMMETRIES) - {first.recipe[words.ACTIVATION_SYMMETRY]}
    _, scored = follow(correct(problem.history(trials=(first,)), first), problem)
    scaled = first.recipe.replace({words.SMOOTH: "auto", words.EQUALIZATION: "on"})
    assert scored == [scaled.replace({words.ACTIVATION_SYMMETRY: other})]


def test_scaling_that_only_helps_with_corrected_biases_is_tried():
    class Absorbing(Scalable):
        """Equalized channels have larger errors of the mean, and no others."""

        smoothed = both = 1.1

        def _scale(self, recipe):
            alike = recipe[words.SMOOTH] == "auto" and recipe[words.BIAS] == "on"
            return super()._scale(recipe) * (0.1 if alike else 1.0)

    problem = scalable(Absorbing, total=6.0)
    first = start(problem)
    found, _ = follow(correct(problem.history(trials=(first,)), first), problem)
    assert (found.recipe[words.SMOOTH], found.recipe[words.BIAS]) == ("auto", "on")
    assert found.drop < problem.target


def test_scaling_that_lowers_no_distance_is_left_out():
    class Even(Scalable):
        smoothed = both = 1.0

    problem = scalable(Even, of_weights=0.1)
    first = start(problem)
    found, scored = follow(correct(problem.history(trials=(first,)), first), problem)
    assert (found, scored) == (first, [])


def test_nothing_is_probed_where_the_recipe_holds():
    problem = scalable(of_weights=0.1)
    held = dataclasses.replace(start(problem), drop=0.0)
    probes = []
    problem.probe = lambda kind, recipe: probes.append(recipe)  # type: ignore[method-assign]
    assert follow(correct(problem.history(trials=(held,)), held), problem) == (held, [])
    assert probes == []


class Measurable(Correctable):
    """Biases are worth measuring."""

    measured = 0.5


def measurable(**problem) -> Measurable:
    return Measurable(with_corrections(make_space(12, seed=4)), seed=4, **problem)


def test_biases_are_measured_where_correcting_them_helped_but_not_enough():
    problem = measurable(total=4.0)
    first = start(problem)
    found, scored = follow(correct(problem.history(trials=(first,)), first), problem)
    assert scored == [
        first.recipe.replace({words.ROUNDING: "gptq", words.BIAS: "on"}),
        first.recipe.replace({words.ROUNDING: "gptq", words.BIAS: words.EMPIRICAL}),
    ]
    assert found.recipe == scored[1]
    assert found.drop < problem.target


@pytest.mark.parametrize("how", ["enough", "useless", "worse", "not offered", "no bias"])
def test_biases_are_not_measured_otherwise(how):
    problem = measurable(total=2.0 if how == "enough" else 4.0)
    if how == "useless":
        problem.measured = 0.995
    if how == "no bias":
        problem.effect = {**Correctable.effect, words.BIAS: 1.0}
    if how == "not offered":
        problem.space = Space(problem.space.choices, {**problem.space.offered, words.BIAS: ("off", "on")}, {})
    if how == "worse":
        problem.measured = 1.1
    first = start(problem)
    found, scored = follow(correct(problem.history(trials=(first,)), first), problem)
    assert all(recipe[words.BIAS] != words.EMPIRICAL for recipe in (*scored, found.recipe))


def test_sensitivities_are_probed_with_biases_that_cost_nothing():
    problem = measurable(total=6.0)
    asked = []

    class Watched(Measurable):
        def measure(self, kind, recipe):
            asked.append(recipe)
            return super().measure(kind, recipe)

    done = run(Watched(problem.space, seed=4, total=6.0), Auto(), max_trials=20)
    bisected = [trial for trial in done.history.trials if trial.phase == "bisect"]
    assert all(trial.recipe[words.BIAS] == words.EMPIRICAL for trial in bisected)
    assert bisected
    measured = [recipe for recipe in asked if recipe[words.BIAS] == words.EMPIRICAL]
    assert len(measured) == 1
    assert known(done.history, settings_of(bisected[0].recipe))


def test_nothing_is_asked_where_the_target_holds_or_nothing_is_on_offer():
    problem = correctable()
    good = dataclasses.replace(start(problem), drop=0.5 * problem.target)
    assert follow(correct(problem.history(), good), problem) == (good, [])
    usual = Problem(make_space(12, seed=4), seed=4, total=3.0)
    missed = start(usual)
    assert follow(correct(usual.history(), missed), usual) == (missed, [])


def test_another_recipe_that_corrections_help_more_is_the_one_to_correct():
    class Choosy(Correctable):
        """Only min-max, the worse calibrator as it is, has biases worth correcting."""

        def _scale(self, recipe):
            uncorrected = Problem._scale(self, recipe)
            helped = recipe[words.BIAS] == "on" and recipe[words.CALIBRATOR] == "minmax"
            return uncorrected * (0.01 if helped else 1.0)

    problem = Choosy(with_corrections(make_space(12, seed=4)), seed=4, total=2.0)
    first = start(problem)
    settings = next(s for s in activation_settings(problem.space) if s[words.CALIBRATOR] == "minmax")
    other = problem.outcome(1, Score(compose(problem.space, settings), "screen"))
    assert other.drop > first.drop > problem.target
    found, scored = follow(correct(problem.history(trials=(first, other)), first, (first, other)), problem)
    assert scored == [other.recipe.replace({words.BIAS: "on"})]
    assert found.drop < problem.target


def test_where_activations_are_the_trouble_nothing_is_tried():
    problem = correctable(of_weights=0.2)
    first = start(problem)
    assert follow(correct(problem.history(trials=(first,)), first), problem) == (first, [])


def test_float_layers_have_nothing_to_correct():
    problem = correctable()
    floated = problem.outcome(0, Score(compose(problem.space, {}, floats=problem.space.layers), "float"))
    missed = dataclasses.replace(floated, drop=2.0 * problem.target)
    assert follow(correct(problem.history(), missed), problem) == (missed, [])


def test_nothing_is_scored_where_no_probe_is_better():
    class Hopeless(Correctable):
        effect = MappingProxyType({words.ROUNDING: 0.995, words.BIAS: 1.0, words.WEIGHT_RANGE: 1.3})

    problem = Hopeless(with_corrections(make_space(12, seed=4)), seed=4, total=2.0)
    first = start(problem)
    assert follow(correct(problem.history(), first), problem) == (first, [])


def test_the_first_recipe_stays_where_the_metric_disagrees():
    class Contrary(Correctable):
        def drop(self, recipe):
            return super().drop(recipe) + (0.1 if recipe[words.ROUNDING] == "gptq" else 0.0)

    problem = Contrary(with_corrections(make_space(12, seed=4)), seed=4, total=2.0)
    first = start(problem)
    found, scored = follow(correct(problem.history(), first), problem)
    assert len(scored) == 1
    assert found is first


@pytest.mark.parametrize("objective", ["ops", "latency"])
def test_auto_corrects_before_layers_fall_back(objective):
    problem = correctable(objective=objective)
    done = run(problem, Auto(), max_trials=12)
    assert done.best is not None
    assert done.best.recipe[words.ROUNDING] == "gptq"
    first = next(trial for trial in done.history.trials if trial.phase == "correct")
    assert problem.history().feasible(first)
    assert done.first_feasible <= 5
    if objective == "ops":
        assert not floats_of(problem.space, first.recipe)


@pytest.mark.parametrize("objective", ["ops", "latency"])
def test_what_still_misses_falls_back_from_the_corrected_recipe(objective):
    problem = correctable(total=6.0, objective=objective)
    done = run(problem, Auto(), max_trials=30)
    bisected = [trial for trial in done.history.trials if trial.phase == "bisect"]
    assert bisected
    assert all(trial.recipe[words.ROUNDING] == "gptq" for trial in bisected)
    assert done.best is not None


@pytest.mark.parametrize("strategy", [Informed, Pareto])
@pytest.mark.parametrize("objective", ["ops", "latency"])
def test_the_other_strategies_correct_too_and_go_on_from_there(strategy, objective):
    problem = correctable(objective=objective, total=3.0)
    done = run(problem, strategy(), max_trials=14)
    corrected = [trial for trial in done.history.trials if trial.recipe[words.ROUNDING] == "gptq"]
    assert corrected[0].phase == "correct"
    assert len(corrected) > 0.5 * len(done.history.trials)
    assert done.best is not None
    assert done.best.recipe[words.ROUNDING] == "gptq"
    plain = run(
        Correctable(make_plain(problem.space), seed=4, objective=objective, total=3.0), strategy(), max_trials=14
    )
    assert plain.best is None or done.best.cost < plain.best.cost
    check_contract(strategy, correctable(total=3.0, jitter=0.2, objective=objective), max_trials=8)


def make_plain(space: Space) -> Space:
    return Space(space.choices, {**space.offered, **{name: (of[0],) for name, of in OF_EACH.items()}}, space.shares)


def test_trials_count_for_the_settings_they_were_made_with():
    problem = correctable(total=3.0)
    done = run(problem, Informed(), max_trials=6)
    probed = replay(informed._probe(done.history), done.history)
    found = arms_of(problem.space, probed, done.history.trials)
    drawn = [place for place, trial in zip(found, done.history.trials, strict=True) if trial.phase == "search"]
    assert drawn
    assert None not in (found[0], *drawn)


def test_a_corrected_recipe_keeps_its_corrections_under_other_settings():
    problem = correctable(total=6.0, mismatch=0.5, jitter=0.3)
    done = run(problem, Auto(), max_trials=60)
    exchanged = [trial for trial in done.history.trials if trial.phase == "exchange"]
    assert exchanged
    assert all(trial.recipe[words.ROUNDING] == "gptq" for trial in exchanged)


@pytest.mark.parametrize("objective", ["ops", "latency"])
def test_replayable(objective):
    check_contract(Auto, correctable(total=3.0, jitter=0.2, objective=objective), max_trials=14)


def test_corrections_of_no_layer_are_one_recipe():
    space = with_corrections(make_space(3))
    floats = dict.fromkeys(space.layers, "fp32")
    odd = {words.ROUNDING: "gptq", words.BIAS: "on", words.WEIGHT_RANGE: "mse"}
    assert space.canonical({**floats, **odd}) == space.canonical(floats)
    assert space.canonical(odd) != space.canonical({})
