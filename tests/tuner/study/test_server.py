"""A study on a database server: AUTOQUANT_STORAGE is the URL of an empty database (PostgreSQL, with its driver)."""

import os
import threading
import uuid

import pytest
from autoquant.errors import StudyError
from autoquant.tuner.study.opening import names
from autoquant.tuner.study.store import Store
from sqlalchemy.engine import make_url

from tests.tuner.study.storing import FINGERPRINT, SCORED_ON, make_space, measured

URL = os.environ.get("AUTOQUANT_STORAGE", "")
SPACE = make_space(30)
RECIPE = SPACE.default()

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not URL, reason="AUTOQUANT_STORAGE is not set")]


@pytest.fixture
def name() -> str:
    return str(uuid.uuid4())


def server(name: str, owner: str = "") -> Store:
    attributes = {
        "fingerprint": FINGERPRINT | {"model": name[:8]},
        "target_drop": {"value": 0.01, "relative": True},
        "build": {"target": "cpu"},
    }
    return Store.create(URL, name, SPACE, version="0.1.0", attributes=attributes, owner=owner)


def test_a_study(name: str):
    with server(name) as store:
        told = store.complete(store.start(RECIPE, "search"), measured())
        store.prune(store.start(RECIPE, "search"), measured(0.3, None))
        store.put_probe("distance", RECIPE, float("inf"))
        store.put({"ranges": "x" * 3_000_000})
    with Store.open(URL, name) as store:
        assert store.trial(0) == told == store.best()
        assert [trial.feasible for trial in store.trials()] == [True, False]
        assert store.probes() == {("distance", RECIPE): float("inf")}
        assert store.study().best_trial.number == 0
    with server(name[:8] + " sibling") as sibling:
        found = sibling.find(RECIPE, SCORED_ON)
        assert found is not None
        assert found[0] == name
        assert len(sibling.inherited("ranges")) == 3_000_000
    assert name in names(URL)


def test_the_password_is_never_shown(name: str):
    with server(name) as store:
        assert "***" in store.shown
        assert (make_url(URL).password or "no password") not in store.shown
    with pytest.raises(StudyError, match=r"\*\*\*"):
        Store.open(URL, "none of that name")
    with pytest.raises(StudyError, match=r"cannot be used: .*nowhere"):
        Store.open(make_url(URL).set(database="nowhere").render_as_string(hide_password=False))


def test_only_the_owner_reclaims(name: str):
    with server(name, "one") as one, server(name, "two") as two:
        assert [one.start(RECIPE, "search"), two.start(RECIPE, "search")] == [0, 1]
        assert [number for number, _ in two.reclaim()] == [1]
        assert [trial.state for trial in one.trials()] == ["running", "failed"]


def test_numbers_do_not_race(name: str):
    stores = [server(name) for _ in range(4)]

    def work(store: Store) -> None:
        for _ in range(8):
            store.complete(store.start(RECIPE, "search"), measured())

    threads = [threading.Thread(target=work, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for store in stores:
        assert [trial.number for trial in store.trials()] == list(range(32))
        store.close()
