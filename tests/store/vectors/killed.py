"""Runs `encode_to` again and again, each time killed at a random line of vicinal's, until it comes to its end.

    python killed.py MODEL FOLDER ROWS SHARD_ROWS FORMAT SEED KILLS

Every run is a process of its own, forked from this one, which has the model and no threads. It prints the texts that
each run computed.
"""

from __future__ import annotations

import importlib
import os
import random
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # its threads would not survive a fork

from tests.store.vectors.conftest import corpus
from vicinal import SentenceTransformer, store
from vicinal.store.vectors import writing

STORE = str(Path(store.__file__).parent)


class Lines:
    """Counts the lines of vicinal/store that run, and kills this process, mercilessly, at one of them."""

    def __init__(self, fatal: int) -> None:
        self.fatal, self.seen = fatal, 0

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.startswith(STORE):
            return None
        if event == "line":
            self.seen += 1
            if self.seen == self.fatal:
                os.kill(os.getpid(), signal.SIGKILL)
        return self


def run(model: SentenceTransformer, folder: Path, rows: int, shard_rows: int, format: Any, fatal: int, out: int) -> int:
    """One run in this process; how many lines it took."""
    computed = writing._computed

    def noted(texts: Any, start: int, *rest: Any) -> Any:
        os.write(out, f"{start}\n".encode())
        return computed(texts, start, *rest)

    writing._computed = noted  # type: ignore[assignment]
    lines = Lines(fatal)
    sys.settrace(lines)
    model.encode_to(folder, iter(corpus(rows)), shard_rows=shard_rows, format=format)
    sys.settrace(None)
    return lines.seen


def forked(*arguments: Any) -> tuple[bool, str]:
    """A run in a process of its own: whether it came to its end, and which shards it began to compute."""
    reading, out = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            run(*arguments, out)
            status = 0
        finally:
            os._exit(status)
    os.close(out)
    with os.fdopen(reading) as told:
        starts = told.read().split()
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status) and status != 0:
        sys.exit("a run failed")
    return status == 0, ",".join(starts)


def main() -> None:
    """Run and be killed; after some kills run to the end, and begin anew in another folder."""
    name, folder, rows, shard_rows, format, seed, kills = sys.argv[1:]
    model = SentenceTransformer(name, self_test=False)
    if format == "parquet":
        importlib.import_module("pyarrow.parquet")  # once, not in every process
    assert threading.active_count() == 1
    chance, killed, number = random.Random(int(seed)), 0, 0
    while killed < int(kills):
        last = chance.random() < 0.25
        fatal = 0 if last else chance.randrange(1, 4000)
        ended, starts = forked(model, Path(f"{folder}{number}"), int(rows), int(shard_rows), format, fatal)
        sys.stdout.write(f"{'ended' if ended else 'killed'} {starts}\n")
        killed += not ended
        number += ended
    ended, starts = forked(model, Path(f"{folder}{number}"), int(rows), int(shard_rows), format, 0)
    sys.stdout.write(f"{'ended' if ended else 'killed'} {starts}\n")


if __name__ == "__main__":
    main()
