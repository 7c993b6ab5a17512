import dataclasses
import json
import os
import stat
from pathlib import Path

import pytest
from autoquant.errors import OutputError
from autoquant.tuner.report.write import write_result, write_text

from tests.tuner.report.made import result


def test_result_json_is_the_result(tmp_path: Path) -> None:
    path = write_result(result(), tmp_path / "result.json")
    assert json.loads(path.read_text()) == json.loads(json.dumps(result().to_json()))
    assert path.read_text().endswith("}\n")


def test_nothing_else_is_left_beside_it(tmp_path: Path) -> None:
    write_text("one", tmp_path / "a.txt")
    write_text("two", tmp_path / "a.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "two"


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_others_may_read_it(tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        path = write_text("x", tmp_path / "a.txt")
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_missing_folder_is_an_error_of_two_lines_at_most(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written: No such file or directory") as caught:
        write_text("x", tmp_path / "nowhere" / "a.txt")
    assert str(caught.value).count("\n") <= 1


def test_a_folder_in_the_way_leaves_no_scraps(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(OutputError):
        write_text("x", tmp_path / "a.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_number_that_json_lacks_is_refused_before_the_file_is_touched(tmp_path: Path) -> None:
    path = write_text("old", tmp_path / "result.json")
    with pytest.raises(ValueError, match="JSON"):
        write_result(dataclasses.replace(result(), baseline_metric=float("nan")), path)
    assert path.read_text() == "old"
