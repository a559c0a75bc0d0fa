"""A process that is asked answers, says what it raised, and is not waited for when it is dead."""

from __future__ import annotations

import inspect
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from vicinal.errors import TextTooLong, WorkerDied
from vicinal.workers import Worker


@pytest.fixture
def worker() -> Any:
    worker = Worker()
    yield worker
    worker.kill()


def fails() -> None:
    raise TextTooLong("row 3")


class Odd(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__("odd")


def fails_oddly() -> None:
    raise Odd(1, 2)


def answers_with_a_lock() -> Any:
    return threading.Lock()


def dies_within_its_answer() -> None:
    """Half a message goes into the pipe."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_code.co_name != "_serve":
        frame = frame.f_back
    assert frame is not None
    os.write(frame.f_locals["connection"].fileno(), struct.pack("!i", 1 << 20) + b"half")
    os.kill(os.getpid(), signal.SIGKILL)


def test_answers_and_errors(worker: Worker) -> None:
    assert worker.ask(os.getpid) == worker._process.pid
    assert worker.ask(len, bytes(10_000_000)) == 10_000_000
    with pytest.raises(TextTooLong, match="row 3") as told:
        worker.ask(fails)
    assert "test_workers.py" in str(told.value.__cause__)  # where it was raised
    with pytest.raises(RuntimeError, match="Odd: odd"):  # it cannot be unpickled
        worker.ask(fails_oddly)
    with pytest.raises(TypeError, match="pickle"):
        worker.ask(answers_with_a_lock)
    with pytest.raises(TypeError, match="pickle"):
        worker.ask(len, threading.Lock())
    assert worker.ask(abs, -2) == 2  # whole after each of them


@pytest.mark.parametrize("end", [dies_within_its_answer, os.abort])
def test_a_dead_process_is_not_waited_for(worker: Worker, end: Any) -> None:
    other = Worker()  # holds no end of the first one's pipe
    begin = time.monotonic()
    with pytest.raises(WorkerDied, match="ended before it gave its results"):
        worker.ask(end)
    with pytest.raises(WorkerDied):
        worker.ask(abs, -2)
    assert time.monotonic() - begin < 10
    assert other.ask(abs, -2) == 2
    other.kill()


def test_killed_while_it_computes(worker: Worker) -> None:
    threading.Timer(0.3, worker.kill).start()
    with pytest.raises(WorkerDied):
        worker.ask(time.sleep, 60)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")
def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    """Killed, so that the parent can tell nobody, and while the worker computes."""
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, threading, time\n"
        "from vicinal.workers import Worker\n"
        "if __name__ == '__main__':\n"
        "    worker = Worker()\n"
        "    print(worker.ask(os.getpid), flush=True)\n"
        "    worker.ask(time.sleep, 60)\n"
    )
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = Path(f"/proc/{int(parent.stdout.readline())}")
    parent.kill()
    parent.wait()
    parent.stdout.close()
    end = time.monotonic() + 10
    while child.exists() and "State:\tZ" not in (child / "status").read_text():
        assert time.monotonic() < end
        time.sleep(0.05)
