"""Rows of texts with a teacher's vectors, and batches of texts of about one length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vicinal.training.samplers import SetEpochMixin


class TaughtRows:
    """A data set of texts, each with the vector that a teacher gives it: columns "text" and "label".

    Args:
        texts: n texts.
        vectors: (n, d), read row by row, so that a memory map will do.
    """

    column_names = ("text", "label")

    def __init__(self, texts: Sequence[str], vectors: Any) -> None:
        self.texts, self.vectors = texts, vectors

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, rows: Any) -> dict[str, Any]:
        """A row, or some as columns."""
        if isinstance(rows, int):
            return {"text": self.texts[rows], "label": np.asarray(self.vectors[rows]).tolist()}
        places = range(*rows.indices(len(self))) if isinstance(rows, slice) else list(rows)
        return {"text": [self.texts[i] for i in places], "label": np.asarray(self.vectors[np.array(places)]).tolist()}


class LengthBatches(SetEpochMixin, torch.utils.data.Sampler[Any]):  # type: ignore[misc]  # torch is not typed here
    """Batches of texts of about one length, in random order, so that hardly anything is padding.

    Texts are drawn at random some thousands at a time and sorted by length; each batch is filled up to a budget of
    padded tokens. Of a data set the column "text" counts.

    Args:
        dataset: with `texts`.
        batch_size: texts of a batch, at most.
        seed: of an epoch, to which the epoch's number is added.
        tokens: padded tokens of a batch, at most, about: a text alone may have more.
        limit: tokens of a text that are read.
    """

    WINDOW = 8192
    CHARACTERS = 4.0
    """Of a token, about; only the order of lengths and the size of batches depend on it."""

    def __init__(
        self, dataset: Any, batch_size: int, seed: int = 0, tokens: int = 4096, limit: int | None = None, **_: Any
    ) -> None:
        self.batch_size, self.seed, self.tokens = batch_size, seed, tokens
        lengths = np.array([len(text) for text in dataset.texts]) / self.CHARACTERS + 2
        self.lengths: NDArray[Any] = lengths if limit is None else np.minimum(lengths, limit)
        self._count: tuple[int, int] | None = None

    def __len__(self) -> int:
        if self._count is None or self._count[0] != self.epoch:
            self._count = self.epoch, len(self._plan())
        return self._count[1]

    def __iter__(self) -> Iterator[list[int]]:
        yield from self._plan()

    def _plan(self) -> list[list[int]]:
        """The batches of an epoch."""
        rng = np.random.default_rng((self.seed or 0, self.epoch))
        order = rng.permutation(len(self.lengths))
        batches: list[list[int]] = []
        for start in range(0, len(order), self.WINDOW):
            window = order[start : start + self.WINDOW]
            window = window[np.argsort(self.lengths[window], kind="stable")]
            first = 0
            for i, row in enumerate(window.tolist()):
                rows = i - first + 1  # with this one, whose length all are padded to
                if i > first and (rows > self.batch_size or rows * self.lengths[row] > self.tokens):
                    batches.append(window[first:i].tolist())
                    first = i
            batches.append(window[first:].tolist())
        return [batches[i] for i in rng.permutation(len(batches))]
