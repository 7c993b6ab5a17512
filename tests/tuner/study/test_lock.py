import os
import subprocess
import sys
from pathlib import Path

import pytest
from autoquant.errors import OutputError, StudyLockedError
from autoquant.tuner.study.lock import FolderLock

HOLDER = """
import sys, pathlib
from autoquant.tuner.study.lock import FolderLock
lock = FolderLock(pathlib.Path(sys.argv[1]), "autoquant tune --model m.onnx").acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_process_is_turned_away_until_the_first_is_killed(tmp_path: Path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline().strip() == b"held"
        with pytest.raises(StudyLockedError) as caught:
            FolderLock(tmp_path).acquire()
        holder.kill()
    text = str(caught.value)
    assert f"process {holder.pid} on" in text
    assert "(autoquant tune --model m.onnx) is tuning there" in text
    assert len(text.splitlines()) == 2
    with FolderLock(tmp_path, "next"):
        assert str(os.getpid()) in (tmp_path / ".lock").read_text()


def test_one_run_per_folder_in_one_process_too(tmp_path: Path):
    with FolderLock(tmp_path) as lock:
        with pytest.raises(StudyLockedError, match=f"process {os.getpid()}"):
            FolderLock(tmp_path).acquire()
        lock.release()
        with FolderLock(tmp_path):
            pass
        lock.release()


def test_children_do_not_keep_it(tmp_path: Path):
    with FolderLock(tmp_path):
        child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    with child, FolderLock(tmp_path):
        child.kill()


def test_a_holder_who_has_not_written_yet(tmp_path: Path):
    with FolderLock(tmp_path):
        (tmp_path / ".lock").write_text("")
        with pytest.raises(StudyLockedError, match="another process is tuning there"):
            FolderLock(tmp_path).acquire()


def test_no_folder(tmp_path: Path):
    with pytest.raises(OutputError, match="cannot write into"):
        FolderLock(tmp_path / "none").acquire()
