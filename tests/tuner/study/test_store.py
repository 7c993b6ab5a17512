import json
import sqlite3
import subprocess
import time
from pathlib import Path

import numpy as np
import optuna
import pytest
import sqlalchemy
from autoquant.errors import StudyError
from autoquant.strategies.base import Space
from autoquant.tuner.study.database import url_of
from autoquant.tuner.study.opening import names
from autoquant.tuner.study.space import distributions
from autoquant.tuner.study.store import Store
from autoquant.tuner.study.trial import recipe_hash
from optuna.trial import TrialState

from tests.tuner.study.storing import SCORED_ON, make_space, make_store, measured


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "study.db"


def test_a_trial_reads_back(file: Path):
    recipe = make_space().default().replace({"layer/block.2/Conv": "fp32"})
    with make_store(file) as store:
        number = store.start(recipe, "bisect")
        assert [t.state for t in store.trials()] == ["running"]
        told = store.complete(
            number, measured(0.002, 0.4, latency_ms=1.5, speedup=1.8, speedup_ci=(1.7, 1.9), extra={"note": "x"})
        )
    with Store.open(url_of(file)) as store:
        (read,) = store.trials()
        assert read == told == store.trial(0)
    assert (read.number, read.recipe, read.state, read.phase) == (0, recipe, "complete", "bisect")
    assert (read.metric, read.drop, read.cost, read.speedup_ci) == (0.8, 0.002, 0.4, (1.7, 1.9))
    assert read.seconds == {"build": 0.01, "session": 0.02, "evaluate": 1.0}
    assert read.recipe_hash == recipe_hash(recipe)
    assert read.scored_on == SCORED_ON
    assert read.attributes["note"] == "x"
    assert read.feasible
    assert read.started is not None
    assert read.finished is not None
    assert read.started <= read.finished


def test_rows_are_those_that_optuna_itself_writes(file: Path):
    space = make_space()
    recipe = space.default().replace({"layer/block.1/Conv": "fp16"})
    with make_store(file, space=space) as store:
        ours = store.study()
        store.complete(store.start(recipe, "search"), measured())
        store.prune(store.start(recipe, "search"), measured(0.5, None))
        store.fail(store.start(recipe, "search"), "no")
        storage = optuna.storages.RDBStorage(url_of(file.with_name("theirs.db")))
        theirs = optuna.create_study(storage=storage)
        with pytest.warns(optuna.exceptions.ExperimentalWarning):
            theirs.set_metric_names(["cost"])
        for trial in ours.trials:
            theirs.add_trial(
                optuna.trial.create_trial(
                    state=trial.state,
                    value=0.5 if trial.state == TrialState.COMPLETE else None,
                    params=dict(recipe),
                    distributions=distributions(space),
                    user_attrs=trial.user_attrs,
                    system_attrs=trial.system_attrs,
                )
            )
        assert [t.state for t in ours.trials] == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]
        assert ours.direction == theirs.direction
        assert ours.metric_names == theirs.metric_names
        for our, their in zip(ours.trials, theirs.trials, strict=True):
            assert our.params == their.params
            assert our.distributions == their.distributions
            assert our.values == their.values
            assert our.number == their.number
            now = their.datetime_complete
            assert our.datetime_complete is not None
            assert now is not None
            assert abs((our.datetime_complete - now).total_seconds()) < 60  # the same clock, the same time zone
        engine = storage.engine
    columns = "SELECT param_name, param_value, distribution_json FROM trial_params ORDER BY trial_id, param_name"
    with sqlite3.connect(file) as one, engine.connect() as other:
        assert one.execute(columns).fetchall() == [tuple(row) for row in other.exec_driver_sql(columns)]
    storage.engine.dispose()


def test_optuna_can_go_on_with_the_study(file: Path):
    space = make_space()
    with make_store(file, space=space) as store:
        store.complete(store.start(space.default(), "search"), measured())
        study = store.study()
        study.sampler = optuna.samplers.TPESampler(seed=0)
        trial = study.ask(distributions(space))
        study.tell(trial, 0.3)
        assert [t.number for t in store.trials()] == [0, 1]
        assert dict(store.trials()[1].recipe) == trial.params


def test_feasibility_as_optuna_and_its_dashboard_see_it(file: Path):
    space = make_space()
    with make_store(file, space=space) as store:
        for drop in (0.01, 0.0100001, -0.5):  # at the target is within it
            store.complete(store.start(space.default(), "search"), measured(drop, 0.5 + drop))
        store.prune(store.start(space.default(), "search"), measured(0.2, None))
        assert [t.feasible for t in store.trials()] == [True, False, True, False]
        frozen = store.study().trials
        assert store.study().best_trial.number == 2
    feasible = [all(value <= 0 for value in trial.constraints.values()) for trial in frozen]
    assert feasible == [True, False, True, False]
    assert [t.constraints["drop"] for t in frozen] == [t.system_attrs["constraints"][0] for t in frozen]
    serializer = pytest.importorskip("optuna_dashboard._serializer")
    shown = [serializer.serialize_frozen_trial(0, trial, {})["constraints"] for trial in frozen]
    assert [all(value <= 0 for value in values) for values in shown] == feasible
    assert all(len(values) == 1 for values in shown)


def test_a_trial_is_two_transactions(file: Path):
    commits = []
    with make_store(file) as store:
        sqlalchemy.event.listen(store.storage.engine, "commit", commits.append)
        number = store.start(make_space().default(), "search")
        store.complete(number, measured())
    # the checkpoint is a third connection use without changes of its own
    assert len(commits) <= 3


def test_the_file_alone_is_whole_after_every_trial(file: Path, tmp_path: Path):
    with make_store(file) as store:
        for number in range(3):
            store.complete(store.start(make_space().default(), "search"), measured())
            alone = tmp_path / f"copy-{number}.db"
            # by another process: to open and close the file here would drop SQLite's locks
            subprocess.run(["cp", file, alone], check=True)
            with Store.open(url_of(alone)) as copy:
                assert [t.state for t in copy.trials()] == ["complete"] * (number + 1)
    assert [p.name for p in tmp_path.glob("study.db*")] == ["study.db"]


def test_a_reader_delays_nothing(file: Path):
    with make_store(file) as store:
        store.complete(store.start(make_space().default(), "search"), measured())
        reader = sqlite3.connect(file, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM trials").fetchone()
        began = time.monotonic()
        store.complete(store.start(make_space().default(), "search"), measured())
        assert time.monotonic() - began < 5  # the lock's timeout is 30 s; the checkpoint gives up after 0.2
        reader.close()
        store.complete(store.start(make_space().default(), "search"), measured())
        assert file.with_name("study.db-wal").stat().st_size == 0


def test_two_stores_of_one_study(file: Path):
    with make_store(file, owner="one") as one, make_store(file, owner="two") as two:
        numbers = [store.start(make_space().default(), "search") for store in (one, two, one)]
        assert numbers == [0, 1, 2]
        assert [n for n, _ in two.reclaim()] == [1]
        one.complete(0, measured())
        assert [t.state for t in two.trials()] == ["complete", "failed", "running"]
        assert [t.state for t in one.trials()] == ["complete", "failed", "running"]


def test_reclaimed_trials_say_nothing_to_a_strategy(file: Path):
    space = make_space()
    recipe = space.default()
    with make_store(file, space=space) as store:
        store.start(recipe, "search")
    with make_store(file, space=space) as store:
        assert store.reclaim() == [(0, recipe)]
        assert store.reclaim() == []
        (trial,) = store.trials()
        assert (trial.state, trial.interrupted, trial.recipe) == ("failed", True, recipe)
        assert store.history(space, objective="ops").trials == ()
        store.fail(store.start(recipe, "search"), "bad")
        (outcome,) = store.history(space, objective="ops").trials
        assert (outcome.number, outcome.state, outcome.recipe) == (1, "failed", recipe)


def test_history(file: Path):
    space = make_space()
    one, two = space.default(), space.default().replace({"layer/block.0/Conv": "fp32"})
    with make_store(file, space=space) as store:
        first, second = store.start(one, "screen"), store.start(two, "bisect")
        store.complete(second, measured(0.0, 0.6))
        store.prune(first, measured(0.3, None))
        store.put_probe("distance", one, 0.25)
        history = store.history(space, objective="size", seed=3, max_trials=9)
        assert [t.number for t in history.trials] == [1, 0]  # as told
        assert history.best is not None
        assert history.best.recipe == two
        assert store.best() == store.trial(1)
        assert (history.target, history.objective, history.seed, history.max_trials) == (0.01, "size", 3, 9)
        assert history.probes == {("distance", one): 0.25}
        # an option of today that the trial does not obey: it says nothing about what is built now
        narrower = make_space(**{"layer/block.0/Conv": ("fp32",)})
        assert [t.number for t in store.history(narrower, objective="size").trials] == [1]
        assert [t.number for t in store.history(space, objective="size").trials] == [1, 0]


def test_probes(file: Path):
    recipes = [make_space().default().replace({f"layer/block.{i}/Conv": "fp32"}) for i in range(4)]
    with make_store(file) as store:
        for i, recipe in enumerate(recipes):
            store.put_probe("distance", recipe, float("inf") if i == 2 else i / 3)
            assert len(store.probes()) == i + 1
    with Store.open(url_of(file)) as store:
        assert store.probes() == {
            ("distance", recipe): float("inf") if i == 2 else i / 3 for i, recipe in enumerate(recipes)
        }


def test_inherited_calibrators_are_not_stored_and_read_back(file: Path):
    own = dict.fromkeys(("calibrator/block.0/Conv", "calibrator/block.1/Conv"), ("inherit", "minmax", "mse"))
    usual = make_space(2)
    space = Space({**usual.choices, **own}, {**usual.offered, **own})
    recipe = space.default().replace({"calibrator/block.1/Conv": "mse"})
    with make_store(file, space=space) as store:
        store.complete(store.start(space.default(), "search"), measured())
        store.complete(store.start(recipe, "search"), measured())
        assert [trial.params.keys() - usual.choices.keys() for trial in store.study().trials] == [
            set(),
            {"calibrator/block.1/Conv"},
        ]
    with make_store(file, space=space) as store:
        assert [trial.recipe for trial in store.trials()] == [space.default(), recipe]
        outcomes = store.history(space, objective="ops").trials
        assert all(a is b for a, b in zip(outcomes, store.history(space, objective="ops").trials, strict=True))


def test_a_trial_that_ends_after_a_later_one_is_seen(file: Path):
    space = make_space()
    with make_store(file) as store, make_store(file) as other:
        slow = store.start(space.default(), "search")
        quick = other.start(space.default().replace({"op/Add": "fp32"}), "search")
        other.complete(quick, measured())
        assert [trial.state for trial in store.trials()] == ["running", "complete"]
        other.complete(slow, measured())
        assert [trial.state for trial in store.trials()] == ["complete", "complete"]


def test_relatives_are_what_siblings_scored_in_full_the_cheapest_first(file: Path):
    space = make_space()
    glue = space.default().replace({"op/Add": "fp32"})
    with make_store(file, "one", attributes={"objective": "ops"}) as store:
        store.complete(store.start(space.default(), "search"), measured(cost=0.5))
        store.complete(store.start(glue, "search"), measured(cost=0.4))
        store.fail(store.start(glue.replace({"layer/block.0/Conv": "fp32"}), "search"), "broken")
        assert store.relatives(SCORED_ON) == []
    with make_store(file, "two", attributes={"objective": "size"}) as store:
        store.complete(store.start(glue, "search"), measured(cost=0.1))
    with make_store(file, "three", attributes={"objective": "ops"}) as store:
        assert [record.cost for record in store.relatives(SCORED_ON)] == [0.4, 0.5, 0.1]
        assert store.relatives(SCORED_ON)[0].recipe == glue
        assert store.relatives({**SCORED_ON, "runtime": "0.0"}) == []


def test_siblings_lend_scores(file: Path):
    recipe = make_space().default()
    with make_store(file, "one") as one:
        one.put({"ranges": {"x": [0, 1]}})
        one.fail(one.start(recipe, "search"), "no")
        one.complete(one.start(recipe, "search"), measured(0.004, 0.7, samples=50))
    other = recipe.replace({"layer/block.0/Conv": "fp32"})
    build = {"build": {"target": "cpu", "weight_bits": 7}}
    print_ = {"fingerprint": {"model": "z", "evaluation": "b2", "calibration": "c3"}}
    with (
        make_store(file, "two") as two,
        make_store(file, "narrow", attributes=build) as narrow,
        make_store(file, "foreign", attributes=print_) as foreign,
        make_store(file, "newer", version="0.2.0") as newer,
    ):
        found = two.find(recipe, SCORED_ON | {"threads": 8})
        assert found is not None
        name, trial = found
        assert (name, trial.number, trial.metric, trial.samples) == ("one", 1, 0.8, 50)
        assert two.find(other, SCORED_ON) is None
        assert two.find(recipe, SCORED_ON | {"runtime": "1.32"}) is None
        assert [store.find(recipe, SCORED_ON) for store in (narrow, foreign, newer)] == [None] * 3
        inherited = [store.inherited("ranges") for store in (two, narrow, foreign, newer)]
        assert inherited == [{"x": [0, 1]}, {"x": [0, 1]}, None, None]
        assert two.get("ranges") is None
    assert names(url_of(file)) == ["one", "two", "narrow", "foreign", "newer"]


def test_attributes_are_strict_json(file: Path):
    with make_store(file) as store:
        store.put({"a": np.float32(0.5), "b": (1, np.int64(2)), "c": {"d": np.arange(2)}})
        store.put({"a": 0.75})
        store.put_probe("distance", make_space().default(), float("inf"))
        assert (store.get("a"), store.get("b"), store.get("c"), store.get("none", 7)) == (
            0.75,
            [1, 2],
            {"d": [0, 1]},
            7,
        )
        with pytest.raises(ValueError, match="not JSON compliant"):
            store.put({"a": 1, "b": float("nan")})
        with pytest.raises(TypeError, match="not JSON-able"):
            store.put({"a": object()})
        assert store.get("a") == 0.75
        store.complete(store.start(make_space().default(), "search"), measured(np.float32(0.25), np.float64(0.5)))
        assert store.trial(0).drop == 0.25
    texts = []
    with sqlite3.connect(file) as connection:
        for table in ("study_user_attributes", "study_system_attributes", "trial_user_attributes"):
            texts += [row[0] for row in connection.execute(f"SELECT value_json FROM {table}")]

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    for text in texts:
        json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_only_numbers_are_told(file: Path, value: float | None):
    with make_store(file) as store:
        number = store.start(make_space().default(), "search")
        for broken in ({"metric": value}, {"drop": value}, {"cost": value}):
            with pytest.raises(ValueError, match="finite"):
                store.complete(number, measured(**broken))
        with pytest.raises(ValueError, match="finite"):
            store.prune(number, measured(value))
        assert store.trial(number).state == "running"


def test_a_trial_is_told_once(file: Path):
    with make_store(file) as store:
        number = store.start(make_space().default(), "search")
        store.complete(number, measured(0.0))
        with pytest.raises(ValueError, match="not running"):
            store.fail(number, "late")
        with pytest.raises(ValueError, match="not running"):
            store.complete(7, measured())
        assert store.trial(0).state == "complete"
        with pytest.raises(StudyError, match="no trial 7: it holds 1"):
            store.trial(7)


def test_an_interrupt_after_the_last_statement_changes_nothing(file: Path):
    with make_store(file) as store:
        number = store.start(make_space().default(), "search")
        told = store.complete(number, measured())
        assert store.fail(number, "stopped", interrupted=True) == told
        assert store.trial(number).state == "complete"


@pytest.mark.parametrize("name", ["", "n" * 513])
def test_names_that_do_not_fit(file: Path, name: str):
    with pytest.raises(StudyError, match="1 to 512 characters"):
        make_store(file, name)


def test_create_goes_on_with_what_is_there(file: Path):
    with make_store(file) as store:
        store.start(make_space().default(), "search")
    with make_store(file, attributes={"target_drop": {"value": 0.5, "relative": False}}) as store:
        assert len(store.trials()) == 1
        assert store.target_drop == 0.01
        assert store.fingerprint.model == "a1"
    with pytest.raises(StudyError, match="other parameters"):
        make_store(file, space=make_space(5))


@pytest.mark.parametrize("name", ["a b/{x}%20#1?.db", "ünï'\";--.db"])
def test_odd_paths_and_names(tmp_path: Path, name: str):
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    with make_store(file, name * 20) as store:
        store.complete(store.start(make_space().default(), "search"), measured())
        assert store.shown == str(file)
    assert file.stat().st_size > 0
    with Store.open(url_of(file)) as store:
        assert (store.name, len(store.trials())) == (name * 20, 1)
