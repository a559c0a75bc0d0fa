"""Processes that work on an index: writers that are killed, readers beside a writer. Run as a program.

    python -m tests.store.index.worker write FOLDER KILLS SEED
    python -m tests.store.index.worker rebuild FOLDER KILLS SEED MODEL MODEL
    python -m tests.store.index.worker read FOLDER SECONDS READERS

Every process is forked from this one, which has no threads and opens no index itself. What went wrong is on stderr, and
the exit code is 1 then; else a line of JSON tells what was done.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # its threads would not survive a fork

import numpy as np

from vicinal import Index, SentenceTransformer
from vicinal.extras import require
from vicinal.store.index import builder, derived, repair

DIMS = 13
GROUP = 7
READERS = 8
LONGEST = 0.05
"""Seconds after a step was begun, or ended, at which a process is killed."""
Documents = dict[str, str]


def texts(turn: int) -> list[str]:
    """What the group of a round holds."""
    return [f"round {turn} document {i}" for i in range(GROUP)]


def vectors(turn: int) -> np.ndarray:
    """Of these texts."""
    return np.random.default_rng(turn).standard_normal((GROUP, DIMS)).astype(np.float32)


def ids(turn: int) -> list[str]:
    """Of these texts."""
    return [f"{turn}/{i}" for i in range(GROUP)]


# ---- processes -----------------------------------------------------------------------------------------------------


def forked(work: Callable[[], None]) -> int:
    """Begin to work in a process of its own."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            warnings.simplefilter("error")
            work()
            status = 0
        except BaseException:  # noqa: BLE001  told; the parent sees the exit code
            traceback.print_exc()
        finally:
            os._exit(status)
    return child


def ended(child: int) -> None:
    """Wait for a process that must end well."""
    _, status = os.waitpid(child, 0)
    if status != 0:
        sys.exit(f"a process failed, with {status}")


def killed(work: Callable[[Callable[[str], None]], None], lines: int, after: float) -> list[str]:
    """Begin to work, and kill it so many seconds after it has told so many lines; all that it told."""
    reading, out = os.pipe()

    def telling() -> None:
        os.close(reading)
        work(lambda line: os.write(out, f"{line}\n".encode()) and None)

    child = forked(telling)
    os.close(out)
    told = []
    with os.fdopen(reading) as pipe:
        for line in pipe:
            told.append(line.strip())
            if len(told) == lines:
                time.sleep(after)
                os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        sys.exit(f"a writer ended by itself, with {status}, after {told[-1:]}")
    return told


# ---- writers that are killed ---------------------------------------------------------------------------------------


def rounds(index: Index, first: int, tell: Callable[[str], None], end: float = float("inf")) -> None:
    """Groups are added, replaced and deleted; it is told what is about to be done, then that it is."""
    for turn in count(first):
        facts = [{"turn": turn}] * GROUP
        steps: dict[str, Callable[[], object]] = {
            "add": lambda: index.add(texts(turn), ids(turn), facts, vectors=vectors(turn)),  # noqa: B023
            "upsert": lambda: index.upsert(texts(-turn), ids(turn), facts, vectors=vectors(turn + 1)),  # noqa: B023
            "delete": lambda: index.delete(ids(turn - 3)),  # noqa: B023
            "compact": lambda: turn % 4 == 0 and index.compact(),  # noqa: B023
        }
        for name, step in steps.items():
            if time.monotonic() > end:
                return
            tell(f"begin {name} {turn}")
            step()
            tell(f"done {name} {turn}")


def after_step(now: Documents, name: str, turn: int) -> Documents:
    """What there is once a step has ended."""
    if name == "add":
        return now | dict(zip(ids(turn), texts(turn), strict=True))
    if name == "upsert":
        return now | dict(zip(ids(turn), texts(-turn), strict=True))
    if name == "delete":
        return {key: text for key, text in now.items() if key not in ids(turn - 3)}
    return now


def write_and_kill(folder: Path, kills: int, seed: int) -> Counter[str]:
    """Writers that are killed one after another; each goes on with what the one before left."""
    builder.LEAST, derived.ROWS = 20, 5
    chance = random.Random(seed)
    during: Counter[str] = Counter()
    there: Documents = {}
    turn = 1

    def work(tell: Callable[[str], None]) -> None:
        with Index.open(folder) as index:
            rounds(index, turn, tell)

    for _ in range(kills):
        told = killed(work, chance.randrange(1, 25), chance.uniform(0, LONGEST))
        may = there
        for line in told:
            word, name, number = line.split()
            turn = int(number)
            may = after_step(there, name, turn)
            there = may if word == "done" else there
        during[f"{word} {name}"] += 1
        reading, out = os.pipe()
        ended(forked(lambda: os.write(out, b"1" if left(folder, there, may) else b"0") and None))  # noqa: B023
        os.close(out)
        with os.fdopen(reading) as pipe:
            there = may if pipe.read() == "1" else there
        turn += 1
    return during


def left(folder: Path, must: Documents, may: Documents) -> bool:
    """Look at what a killed writer has left: all that it had committed; of its last step all (True) or nothing."""
    with Index.open(folder) as index:
        there = {one.id: one.text for one in index.documents()}
        assert there in (must, may), f"{there.keys() ^ must.keys()}"
        assert index.verify() == []
        assert {hit.id: hit.text for hit in index.search(np.ones(DIMS), 10_000)} == there
        for turn in {int(key.partition("/")[0]) for key in there}:
            found = {hit.id for hit in index.search(np.ones(DIMS), 100, {"turn": turn})}
            assert found == {key for key in there if key.startswith(f"{turn}/")}
    return there == may


def rebuild_and_kill(folder: Path, kills: int, seed: int, names: list[str]) -> Counter[str]:
    """An index is embedded by one model and the other in turn, and killed: it is always whole, of one of them."""
    repair.PORTION, builder.LEAST = 5, 20
    models = [SentenceTransformer(name, self_test=False) for name in names]
    chance = random.Random(seed)
    during: Counter[str] = Counter()

    def work(tell: Callable[[str], None]) -> None:
        with Index.open(folder) as index:
            for model in models * 100:
                if model.fingerprint != index.model.fingerprint:
                    tell("begin")
                    index.rebuild(model)
                    tell("done")

    def check() -> None:
        with Index.open(folder) as index:
            assert index.verify() == []
            (model,) = [one for one in models if one.fingerprint == index.model.fingerprint]
            documents = list(index.documents())
            expected = model.encode_document([one.text for one in documents], show_progress_bar=False)
            with index._database.snapshot() as (db, _):
                rows = db.execute("SELECT data FROM vector ORDER BY chunk").fetchall()
            stored = np.frombuffer(b"".join(row for (row,) in rows), "<f4").reshape(expected.shape)
            assert sorted(map(bytes, stored)) == sorted(map(bytes, expected))
            assert len(index.search(documents[0].text, 1000)) == len(documents)

    for _ in range(kills):
        told = killed(work, chance.randrange(1, 6), chance.uniform(0, LONGEST))
        during[told[-1]] += 1
        ended(forked(check))
    return during


# ---- readers beside a writer ---------------------------------------------------------------------------------------


def read(folder: Path, stop: Callable[[], bool], tell: Callable[[str], None]) -> None:
    """Search until it is time to stop: every group that is seen must be whole, and time goes forwards."""
    seen = generation = 0
    while not stop() or seen == 0:
        with Index.open(folder) as index:
            for _ in range(50):
                last = index.info()["generation"]
                assert last >= generation, "an older index is seen"
                generation = last
                check_groups(index.search(vectors(seen % 5)[0], 1000), 0)
                near = index.search(vectors(seen % 5)[0], 3)
                assert len(near) == 3
                turn = int(near[0].id.partition("/")[0])
                check_groups(index.search(vectors(1)[0], 1000, {"turn": turn}), turn)
                seen += 1
                if stop():
                    break
    tell(f"{seen}")


def check_groups(hits: list, turn: int) -> None:
    """Assert that each group that was found is whole, and of one write; of one turn, where one is given."""
    groups: dict[int, list[str]] = {}
    for hit in hits:
        groups.setdefault(int(hit.id.partition("/")[0]), []).append(hit.text.split()[1])
    assert not turn or groups.keys() <= {turn}
    for number, found in groups.items():
        assert len(found) == GROUP, f"round {number} has {len(found)} documents"
        assert len(set(found)) == 1, f"round {number} is torn: {found}"


def read_beside_a_writer(folder: Path, seconds: float, readers: int) -> Counter[str]:
    """Readers and one writer for some seconds: how often each did what."""
    builder.LEAST, derived.ROWS = 20, 5
    end = time.monotonic() + seconds
    reading, out = os.pipe()

    def write() -> None:
        done = 0

        def tell(line: str) -> None:
            nonlocal done
            done += line.startswith("done")

        with Index.open(folder) as index:
            rounds(index, 1, tell, end)
        os.write(out, f"writes {done}\n".encode())

    def search() -> None:
        read(folder, lambda: time.monotonic() > end, lambda line: os.write(out, f"searches {line}\n".encode()) and None)

    children = [forked(write), *(forked(search) for _ in range(readers))]
    for child in children:
        ended(child)
    os.close(out)
    total: Counter[str] = Counter()
    with os.fdopen(reading) as pipe:
        for line in pipe:
            what, number = line.split()
            total[what] += int(number)
            total["processes"] += 1
    return total


def main() -> Iterator[str]:
    """What was done, in words."""
    what, folder, *rest = sys.argv[1:]
    require("faiss", "building graphs")
    if what == "write":
        yield json.dumps(write_and_kill(Path(folder), int(rest[0]), int(rest[1])))
    elif what == "rebuild":
        yield json.dumps(rebuild_and_kill(Path(folder), int(rest[0]), int(rest[1]), rest[2:]))
    else:
        yield json.dumps(read_beside_a_writer(Path(folder), float(rest[0]), int(rest[1])))


if __name__ == "__main__":
    for line in main():
        sys.stdout.write(line)
