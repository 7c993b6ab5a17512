from pathlib import Path

import pytest

from benchmarks.remembered import Remembered


def test_what_was_measured_is_there_for_the_next_process(tmp_path: Path) -> None:
    file = tmp_path / "cache" / "task.jsonl"
    first = Remembered(file)
    assert ("score", "a") not in first
    first["score", "a"] = [1.0, 0.5]
    first["probe", "a"] = {"kl": float("inf")}
    begun = file.read_bytes()
    second = Remembered(file)
    second["score", "b"] = [0.1]
    assert file.read_bytes().startswith(begun), "appended, not written again"
    third = Remembered(file)
    assert third["score", "a"] == [1.0, 0.5]
    assert third["score", "b"] == [0.1]
    assert third["probe", "a"] == {"kl": float("inf")}
    with pytest.raises(KeyError):
        third["probe", "b"]


def test_a_torn_last_line_is_measured_again(tmp_path: Path) -> None:
    file = tmp_path / "task.jsonl"
    first = Remembered(file)
    first["score", "a"] = 1.0
    first["score", "b"] = 2.0
    file.write_bytes(file.read_bytes()[:-4])
    again = Remembered(file)
    assert ("score", "a") in again
    assert ("score", "b") not in again
    again["score", "b"] = 3.0
    assert Remembered(file)["score", "b"] == 3.0
    assert Remembered(file)["score", "a"] == 1.0


def test_without_a_file_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    kept = Remembered(None)
    kept["score", "a"] = 1.0
    assert kept["score", "a"] == 1.0
    assert not list(tmp_path.iterdir())
