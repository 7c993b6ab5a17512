import json
from pathlib import Path

import pytest
from autoquant.errors import StudyError
from autoquant.tuner.study.database import url_of
from autoquant.tuner.study.recover import open_study

from tests.tuner.study.storing import make_space, make_store, measured


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    out = tmp_path / "model.autoquant"
    out.mkdir()
    with make_store(out / "study.db", "first") as store:
        store.complete(store.start(make_space().default(), "search"), measured())
    return out


def test_by_folder_file_and_url(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder.parent)
    for study in (
        folder,
        folder / "study.db",
        url_of(folder / "study.db"),
        "model.autoquant",
        "sqlite:///" + str(folder / "study.db"),
    ):
        with open_study(study) as store:
            assert store.name == "first"
            assert len(store.trials()) == 1


def test_a_folder_of_several_studies_means_the_delivered_one(folder: Path):
    make_store(folder / "study.db", "second").close()
    with pytest.raises(StudyError, match="2 studies"):
        open_study(folder)
    result = folder / "result.json"
    result.write_text(json.dumps({"study": {"name": "second", "storage": "elsewhere"}}))
    with open_study(folder) as store:
        assert store.name == "second"
    with open_study(folder, "first") as store:
        assert store.name == "first"
    result.write_text("{ half a fi")
    with pytest.raises(StudyError, match="2 studies"):
        open_study(folder)


def test_a_folder_whose_study_is_elsewhere(folder: Path, tmp_path: Path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "result.json").write_text(json.dumps({"study": {"name": "first", "storage": url_of(folder / "study.db")}}))
    with open_study(out) as store:
        assert (store.name, len(store.trials())) == ("first", 1)


@pytest.mark.parametrize(("study", "text"), [("none", "no such study: "), (".", "holds no study: neither study.db")])
def test_nothing_there(study: str, text: str, tmp_path: Path):
    with pytest.raises(StudyError, match=text):
        open_study(tmp_path / study)
