"""Batches in which no text stands twice."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from vicinal.errors import InvalidData
from vicinal.training.batching import distinct_batches
from vicinal.training.readers import InputExample


class NoDuplicatesDataLoader:
    """Batches for `MultipleNegativesRankingLoss`: a text, whatever its case and its outer spaces, is in a batch once.

    Every pass shuffles the examples anew (`random.seed` decides) and gives `len(loader)` full batches. An example that
    does not fit waits for the next batch.

    Args:
        train_examples: `InputExample`s; the list is left as it is.
        batch_size: examples in a batch.

    Raises:
        ValueError: `batch_size` is no positive number. InvalidData (while iterating): there are so many duplicates
            that no batch can be filled.
    """

    def __init__(self, train_examples: Sequence[InputExample], batch_size: int) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        self.train_examples = train_examples
        self.batch_size = batch_size
        self.collate_fn: Callable[[list[InputExample]], Any] | None = None

    def __iter__(self) -> Iterator[Any]:
        given = 0
        while given < len(self):
            before = given
            order = random.sample(range(len(self.train_examples)), len(self.train_examples))
            for rows in distinct_batches(order, self._values, self.batch_size):
                if len(rows) < self.batch_size or given == len(self):
                    continue
                given += 1
                batch = [self.train_examples[row] for row in rows]
                yield batch if self.collate_fn is None else self.collate_fn(batch)
            if given == before:
                raise InvalidData(
                    f"no {self.batch_size} of the {len(self.train_examples)} examples share no text, so that no batch "
                    "can be filled; lower batch_size or remove duplicates"
                )

    def __len__(self) -> int:
        return len(self.train_examples) // self.batch_size

    def _values(self, row: int) -> set[str]:
        return {str(text).strip().lower() for text in self.train_examples[row].texts}
