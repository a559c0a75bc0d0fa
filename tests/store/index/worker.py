"""Works on an index until it is killed, or for a number of rounds, and tells what is committed. Run as a program."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO

import numpy as np

from vicinal import Index
from vicinal.store.index import builder, derived

DIMS = 13
GROUP = 7


def texts(turn: int) -> list[str]:
    """What the group of a round holds."""
    return [f"round {turn} document {i}" for i in range(GROUP)]


def vectors(turn: int) -> np.ndarray:
    """Of these texts."""
    return np.random.default_rng(turn).standard_normal((GROUP, DIMS)).astype(np.float32)


def ids(turn: int) -> list[str]:
    """Of these texts."""
    return [f"{turn}/{i}" for i in range(GROUP)]


def write(folder: Path, log: IO[str], first: int, rounds: int) -> None:
    """Groups are added, replaced and deleted; the log says what is about to be done, then what is."""
    builder.LEAST, derived.ROWS = 20, 5
    with Index.open(folder) as index:
        for turn in range(first, first + rounds):
            steps = {
                "add": lambda: index.add(texts(turn), ids(turn), vectors=vectors(turn)),  # noqa: B023
                "upsert": lambda: index.upsert(texts(-turn), ids(turn), vectors=vectors(turn + 1)),  # noqa: B023
                "delete": lambda: index.delete(ids(turn - 3)),  # noqa: B023
                "compact": lambda: turn % 4 == 0 and index.compact(),  # noqa: B023
            }
            for name, step in steps.items():
                log.write(f"begin {name} {turn}\n")
                log.flush()
                step()
                log.write(f"done {name} {turn}\n")
                log.flush()


def read(folder: Path, stop: Path) -> None:
    """Search until a file is there: every group that is seen must be whole."""
    seen = 0
    with Index.open(folder) as index:
        while not stop.exists() or seen == 0:
            hits = index.search(vectors(seen % 5)[0], 1000)
            groups: dict[str, list[str]] = {}
            for hit in hits:
                groups.setdefault(hit.id.partition("/")[0], []).append(hit.text.split()[1])
            for turn, found in groups.items():
                assert len(found) == GROUP, f"round {turn} has {len(found)} documents"
                assert len(set(found)) == 1, f"round {turn} is torn: {found}"
            seen += 1


if __name__ == "__main__":
    if sys.argv[1] == "write":
        with open(sys.argv[3], "a") as output:
            write(Path(sys.argv[2]), output, int(sys.argv[4]), int(sys.argv[5]))
    else:
        read(Path(sys.argv[2]), Path(sys.argv[3]))
