from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from vicinal.store.files import atomic, leftovers, sync_folder, write_json


def test_a_block_that_ends_well_replaces_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    path.chmod(0o640)
    with atomic(path) as file:
        file.write(b"after")
        assert path.read_bytes() == b"before"
    assert path.read_bytes() == b"after"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_fails_leaves_everything_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")

    def fail() -> None:
        with atomic(path) as file:
            file.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "below" / "file")
    write_json(tmp_path / "link", {"é": 1})
    assert (tmp_path / "link").is_symlink()
    assert json.loads((tmp_path / "below" / "file").read_text("utf-8")) == {"é": 1}


def test_two_writers_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with atomic(path) as one, atomic(path) as two:
        one.write(b"outer")
        two.write(b"inner")
    assert path.read_bytes() == b"outer"


def test_what_a_killed_writer_leaves_is_found(tmp_path: Path) -> None:
    code = f"""
import os, pathlib
from vicinal.store.files import atomic
with atomic(pathlib.Path({str(tmp_path / "file")!r})) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), {signal.SIGKILL})
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    (tmp_path / ".mine.new").touch()
    found = list(leftovers(tmp_path))
    assert [path.read_bytes() for path in found] == [b"half"]
    assert found[0].name.startswith(".file.")


def test_folders_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    fsync = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda handle: (synced.append(stat.S_ISDIR(os.fstat(handle).st_mode)), fsync(handle))
    )
    write_json(tmp_path / "file", [])
    assert synced == [False, True], "the file before it is renamed, the folder after"
    with pytest.raises(FileNotFoundError):
        sync_folder(tmp_path / "none")
