"""Which rows go into a batch together: the rules alone, without torch."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from heapq import heappop, heappush
from typing import Any

Shuffle = Callable[[int], list[int]]
"""From n to the numbers below n in random order."""


def distinct_batches(
    order: Sequence[int], values: Callable[[int], Collection[Hashable]], size: int
) -> Iterator[list[int]]:
    """Batches of rows that share no value, each filled with the earliest rows of an order that fit.

    A row that does not fit waits for the next batch, where it comes before all later ones. Waiting rows stand in lines,
    one for each value that was in somebody's way; while that value is in the batch, its line is passed over as a whole.
    So that the cost does not grow with the number of rows that wait for the same value.

    Args:
        order: rows.
        values: of a row, what no other row of its batch may have.
        size: rows in a batch; there may be fewer where no more fit.

    Yields:
        Rows of a batch, every row of `order` in exactly one of them.
    """
    lines: dict[Hashable, list[int]] = {}  # places in the order, as heaps
    heads: list[tuple[int, int, Hashable]] = []  # (place, tie-breaker, value): the first of each line, as a heap
    fresh = turn = 0
    while fresh < len(order) or heads:
        batch: list[int] = []
        inside: set[Hashable] = set()
        closed: set[Hashable] = set()  # lines whose head must be announced for the next batch
        while len(batch) < size:
            if heads:
                place, _, value = heappop(heads)
                line = lines.get(value)
                if line is None or line[0] != place:
                    continue  # somebody else heads this line by now, and was announced too
                if value in inside:
                    closed.add(value)
                    continue
                heappop(line)
                if line:
                    turn += 1
                    heappush(heads, (line[0], turn, value))
                else:
                    del lines[value]
            elif fresh < len(order):
                place, fresh = fresh, fresh + 1
            else:
                break
            row = order[place]
            own = values(row)
            obstacle = next((value for value in own if value in inside), None) if inside else None
            if obstacle is None:
                batch.append(row)
                inside.update(own)
            else:
                heappush(lines.setdefault(obstacle, []), place)
                closed.add(obstacle)
        for value in closed:
            turn += 1
            heappush(heads, (lines[value][0], turn, value))
        yield batch


def paired_stream(groups: Mapping[Any, Sequence[int]], size: int, shuffle: Shuffle) -> Iterator[list[int]]:
    """Batches in which every label has two rows or more, and of which there are at least two labels.

    Labels take turns with two rows each, in a new order every round, until fewer than two labels have rows left.

    Args:
        groups: rows of each label, two or more.
        size: rows in a batch: even, 4 or more.

    Yields:
        Rows of a batch; the last one may be short, and is left out where it is below 4.
    """
    queues = {}
    for label, rows in groups.items():
        mixed = shuffle(len(rows))[: len(rows) // 2 * 2]
        queues[label] = deque(rows[i] for i in mixed)
    labels = list(queues)
    batch: list[int] = []
    last = None
    while len(labels) >= 2:
        labels = [labels[i] for i in shuffle(len(labels))]
        if batch and labels[0] == last:  # twice the same label in a row could leave a batch with it alone
            labels[0], labels[1] = labels[1], labels[0]
        for label in labels:
            batch += (queues[label].popleft(), queues[label].popleft())
            if len(batch) == size:
                yield batch
                batch = []
        last = labels[-1]
        labels = [label for label in labels if queues[label]]
    if len(batch) >= 4:
        yield batch


def paired_rows(groups: Mapping[Any, Sequence[int]]) -> int:
    """How many rows `paired_stream` has room for: all pairs, but of the largest label no more than the second has."""
    pairs = sorted((len(rows) // 2 for rows in groups.values()), reverse=True)
    return 2 * sum(min(count, pairs[1]) for count in pairs)


def digest(value: object) -> int:
    """64 bits of a value's text, the same in every process."""
    text = str(value).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little", signed=True)
