"""Training data: what it may be, what must hold before the first step, and its rows as a trainer draws them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from vicinal.errors import InvalidData
from vicinal.training.collator import DATASET, LABELS

_CHECKED = 100
"""Rows that are looked at before the first step."""
_ORDER = ("query", "question", "anchor", "premise", "sentence1"), ("answer", "positive", "hypothesis", "sentence2")


def as_sets(data: Any) -> Any:
    """A data set, or a dict of them, as given; a `DatasetDict` or mapping as a dict.

    Raises:
        InvalidData: there is none.
    """
    if isinstance(data, Mapping):
        if not data:
            raise InvalidData("train_dataset is an empty dict: it needs at least one data set")
        return dict(data)
    return data


def check(data: Any, name: str, loss: Any) -> None:
    """Look at the columns and first rows of a data set.

    Raises:
        InvalidData: the loss cannot be given them, or a row holds no text.
    """
    columns = list(getattr(data, "column_names", None) or ())
    if not columns:
        return  # a stream that does not say
    inputs = [column for column in columns if column not in (*LABELS, DATASET)]
    if not inputs:
        raise InvalidData(f"{name} has no column of texts: {columns}")
    labels = [column for column in columns if column in LABELS]
    if len(labels) > 1:
        raise InvalidData(f"{name} has several columns of labels ({', '.join(labels)}): keep one")
    described = getattr(loss, "inputs", None)
    if described is not None and hasattr(described, "check"):
        described.check(f"{name}: {type(loss).__name__}", inputs, True if labels else None)
    ids = [column for column in inputs if column == "id" or column.endswith("_id")]
    if ids:
        warnings.warn(f"{name}: {', '.join(ids)} will be read as texts; remove columns that hold none", stacklevel=4)
    _order(inputs, name)
    if hasattr(data, "__len__"):
        _rows(data, inputs, labels, name)


def _order(inputs: Sequence[str], name: str) -> None:
    """Names that say another order than the columns have."""
    firsts, seconds = ([i for i, column in enumerate(inputs) if column.lower() in names] for names in _ORDER)
    if firsts and seconds and min(firsts) > min(seconds):
        warnings.warn(
            f"{name}: the columns {', '.join(inputs)} are taken in this order, and {inputs[min(seconds)]!r} stands "
            f"before {inputs[min(firsts)]!r}; select_columns([...]) sets another",
            stacklevel=5,
        )


def _rows(data: Any, inputs: Sequence[str], labels: Sequence[str], name: str) -> None:
    if not len(data):
        raise InvalidData(f"{name} has no rows")
    for i in range(min(_CHECKED, len(data))):
        row = data[i]
        for column in inputs:
            value = row[column]
            texts = value if isinstance(value, (list, tuple)) else [value]
            if not texts or not all(isinstance(text, str) for text in texts):
                raise InvalidData(f"{name}, row {i}: {column!r} must be a text or a list of texts, not {value!r}")
        for column in labels:
            found = row[column]
            numbers = found if isinstance(found, (list, tuple)) else [found]
            if not all(isinstance(number, (int, float)) for number in numbers):
                raise InvalidData(f"{name}, row {i}: {column!r} must be a number or a list of numbers, not {found!r}")


class Rows(torch.utils.data.Dataset[Any]):  # type: ignore[misc]  # torch is not typed here
    """Data sets one after the other, whose rows say of which they are. Rows of a batch are drawn in one call."""

    def __init__(self, sets: Mapping[str | None, Any]) -> None:
        self.sets = dict(sets)
        self._starts: list[tuple[int, str | None, Any]] = []
        total = 0
        for name, data in self.sets.items():
            self._starts.append((total, name, data))
            total += len(data)
        self._total = total

    def __len__(self) -> int:
        return self._total

    def __getitem__(self, row: int) -> dict[str, Any]:
        return self.__getitems__([row])[0]

    def __getitems__(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Rows of one data set, as a batch sampler gives them."""
        start, name, data = next(found for found in reversed(self._starts) if found[0] <= rows[0])
        found = data[[row - start for row in rows]]
        extra = {} if name is None else {DATASET: name}
        columns = [column for column in found if column != DATASET]
        return [{**{column: found[column][i] for column in columns}, **extra} for i in range(len(rows))]


class Stream(torch.utils.data.IterableDataset[Any]):  # type: ignore[misc]
    """An iterable data set whose rows say of which they are."""

    def __init__(self, data: Any, name: str | None) -> None:
        self.data, self.name = data, name

    def __iter__(self) -> Iterator[dict[str, Any]]:
        extra = {} if self.name is None else {DATASET: self.name}
        for row in self.data:
            yield {**row, **extra}

    def set_epoch(self, epoch: int) -> None:
        """Shuffles anew where the data can."""
        if hasattr(self.data, "set_epoch"):
            self.data.set_epoch(epoch)
