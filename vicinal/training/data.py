"""Training data: what it may be, what must hold before the first step, and its rows as a trainer draws them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from math import isfinite
from typing import Any

import numpy as np
import torch

from vicinal.errors import InvalidData
from vicinal.training.collator import DATASET, LABELS

_AT_ONCE = 1000
"""Rows that are read together before the first step, where all are looked at."""
_FEW = 100
"""Rows that are looked at where each is computed when it is read."""
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
    if isinstance(data, (list, tuple)):
        raise InvalidData(
            f"a {type(data).__name__} is no data set: datasets.Dataset.from_list(rows) makes one of mappings"
        )
    return data


def check(data: Any, name: str, loss: Any) -> None:
    """Look at the columns and rows of a data set.

    Raises:
        InvalidData: the loss cannot be given them, or a row holds no text, an empty one, or a label that is no number.
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
    """Every row, a portion at a time."""
    if not len(data):
        raise InvalidData(f"{name} has no rows")
    empty: list[tuple[int, str]] = []
    for start, portion in _portions(data):
        for column in inputs:
            for i, value in enumerate(portion[column], start):
                texts = value if isinstance(value, (list, tuple)) else (value,)
                if not texts or not all(isinstance(text, str) for text in texts):
                    raise InvalidData(f"{name}, row {i}: {column!r} must be a text or a list of texts, not {value!r}")
                if not all(texts) or not all(map(str.strip, texts)):
                    empty.append((i, column))
        for column in labels:
            if (bad := _no_number(portion[column])) is not None:
                raise InvalidData(
                    f"{name}, row {start + bad}: {column!r} must be a number or a list of numbers, not "
                    f"{portion[column][bad]!r}"
                )
    if empty:
        row, column = min(empty)
        raise InvalidData(
            f"{name} has {len({row for row, _ in empty})} rows with an empty text, the first row {row}, {column!r}: "
            "leave them out (data.filter(...)), since a loss would learn from them"
        )


def _no_number(labels: Sequence[Any]) -> int | None:
    """The place of the first label that is neither a finite number nor a list of them; None where all are."""
    with suppress(ValueError):  # lists of several lengths
        together = np.asarray(labels)
        if together.dtype.kind in "biuf" and np.isfinite(together).all():
            return None
    for i, found in enumerate(labels):
        numbers = found if isinstance(found, (list, tuple)) else (found,)
        if not all(isinstance(number, (int, float)) and isfinite(number) for number in numbers):
            return i
    return None


def _portions(data: Any) -> Iterator[tuple[int, Mapping[str, Sequence[Any]]]]:
    """(first row, its columns) of all rows; of the first ones alone where a function of the user's makes each."""
    stored = getattr(data, "format", None)
    if not isinstance(stored, Mapping):
        columns = list(data.column_names)
        for i in range(min(_FEW, len(data))):
            row = data[i]
            yield i, {column: [row[column]] for column in columns}
        return
    made = stored.get("type") == "custom"
    plain = data if made else data.with_format(None)
    rows, step = (min(_FEW, len(data)), 1) if made else (len(data), _AT_ONCE)
    for start in range(0, rows, step):
        yield start, plain[start : start + step]


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

    def set_epoch(self, epoch: int) -> None:
        """Tells those data sets that draw anew in each."""
        for data in self.sets.values():
            if hasattr(data, "set_epoch"):
                data.set_epoch(epoch)

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
