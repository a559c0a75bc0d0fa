"""Processes that are killed while they write, and readers beside a writer."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.store.index import worker
from vicinal import Index

KILLS = int(os.environ.get("VICINAL_KILLS", "20"))
"""How often a writer is killed; 200 in the long form."""
READERS = 3
ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")


def start(*arguments: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.store.index.worker", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def expected(log: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """What must be there after the steps that ended, and what may be there besides or instead: with the last one that
    was begun."""
    states: list[dict[str, str]] = [{}]
    now: dict[str, str] = {}
    for line in log:
        word, name, number = line.split()
        turn = int(number)
        after = dict(now)
        if name == "add":
            after |= dict(zip(worker.ids(turn), worker.texts(turn), strict=True))
        elif name == "upsert":
            after |= dict(zip(worker.ids(turn), worker.texts(-turn), strict=True))
        elif name == "delete":
            after = {key: text for key, text in after.items() if key not in worker.ids(turn - 3)}
        if word == "done":
            now = after
            states = [now]
        else:
            states = [now, after]
    return states[0], states[-1]


def test_a_kill_at_any_instant_loses_nothing_that_was_committed(create: Callable[..., Index], tmp_path: Path) -> None:
    path = create().path
    log, first = tmp_path / "log", 0
    chance = random.Random(0)
    for _ in range(KILLS):
        done = log.read_text().splitlines() if log.exists() else []
        writer = start("write", path, log, first, 1000)
        wanted = len(done) + chance.randrange(1, 12)  # lines; where in the next step is a matter of luck
        while len(log.read_text().splitlines() if log.exists() else []) < wanted:
            assert writer.poll() is None, writer.stderr.read() if writer.stderr else ""
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        lines = log.read_text().splitlines()
        must, may = expected(lines)
        with Index.open(path) as index:
            there = {one.id: one.text for one in index.documents()}
            assert there in (must, may)
            assert index.verify() == []
            hits = index.search(np.ones(worker.DIMS), 10_000)
            assert {hit.id: hit.text for hit in hits} == there
        # The log goes on from what is there, as the writer would see it.
        first = int(lines[-1].split()[2]) + 1
        last = lines[-1].split()
        if last[0] == "begin" and there == may:
            with log.open("a") as file:
                file.write(f"done {last[1]} {last[2]}\n")


def test_readers_beside_a_writer_see_whole_writes(create: Callable[..., Index], tmp_path: Path) -> None:
    path = create().path
    stop = tmp_path / "stop"
    with Index.open(path) as index:
        index.add(worker.texts(0), worker.ids(0), vectors=worker.vectors(0))
    readers = [start("read", path, stop) for _ in range(READERS)]
    writer = start("write", path, tmp_path / "log", 1, 25)
    _, message = writer.communicate(timeout=300)
    stop.touch()
    assert writer.returncode == 0, message
    for reader in readers:
        _, message = reader.communicate(timeout=300)
        assert reader.returncode == 0, message
    with Index.open(path) as index:
        assert index.verify() == []
