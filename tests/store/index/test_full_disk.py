"""Where there is no more room, what was committed stays, and nothing is half there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import tiny
from tests.long import LONG
from tests.store.vectors.conftest import ROOT
from vicinal import SentenceTransformer

WRITES = {"add", "upsert", "delete", "compact", "optimize", "rebuild", "backup", "export"}


def came_to(folder: Path, model: SentenceTransformer, other: Path, *limits: int) -> dict[str, list[str]]:
    """How writes ended, by the room that they had."""
    command = [sys.executable, "-m", "tests.store.index.full", *map(str, (folder, model.name, other, *limits))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = json.loads(done.stdout)
    assert found.keys() == WRITES
    return found


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the length of files")
def test_files_that_may_not_grow(model: SentenceTransformer, tmp_path: Path) -> None:
    other = tiny.write_static(tmp_path / "other", width=7, seed=1)
    (tmp_path / "work").mkdir()
    found = came_to(tmp_path / "work", model, other, 4_000, 60_000)
    assert all(ends[0] in ("ENOSPC", "EFBIG", "EIO") for ends in found.values()), found


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB in a file."""
    image, place = tmp_path / "image", tmp_path / "disk"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(8 << 20)
    for command in (["mkfs.ext4", "-q", "-F", "-m", "0", str(image)], ["mount", "-o", "loop", str(image), str(place)]):
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no file system can be mounted here: {getattr(error, 'stderr', '') or error}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.skipif(not LONG, reason="a file system of its own is of the long form: VICINAL_LONG=1")
def test_a_disk_that_is_full(model: SentenceTransformer, tmp_path: Path, disk: Path) -> None:
    other = tiny.write_static(tmp_path / "other", width=7, seed=1)
    found = came_to(disk, model, other)
    sys.stdout.write(f"{found}\n")
    assert {how for ends in found.values() for how in ends} <= {"done", "ENOSPC", "EIO"}, found
    assert all("done" not in ends[:1] for ends in found.values()), found
