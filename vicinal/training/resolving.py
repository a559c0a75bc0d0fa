"""Data sets of ids: a transform that puts the texts in their place."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from vicinal.errors import InvalidData
from vicinal.training.collator import LABELS


def resolve_ids(
    lookups: Mapping[str, Any],
    keep_columns: Sequence[str] = LABELS,
    max_list_length: int | None = None,
    output_format: Literal["columns", "lists"] = "columns",
) -> Resolve:
    """A transform of batches that puts texts in the place of ids, for `set_transform`, or `map(..., batched=True)`.

    Args:
        lookups: for each column of ids, in the order of the columns that are to be, where their texts are: a data set
            with an id column ("id", or a name that ends in "_id") and one other; or (data set, id column[, text
            column]). A column of lists of ids is resolved list by list.
        keep_columns: which go through as they are, where they are there; all others are left out.
        max_list_length: so many entries of each list are kept, the first ones.
        output_format: "columns" makes of lists, which must then be of one length, columns `document_1`, `document_2`,
            ...; "lists" leaves them lists, `documents`.

    Returns:
        The transform. "positive_id" becomes "positive", "document_ids" "document_1", ... or "documents".

    Raises:
        InvalidData: a data set does not tell which of its columns is which. KeyError, from the transform: an id that no
            data set has.
    """
    if isinstance(keep_columns, str):
        raise TypeError(f"keep_columns must be a list of names, not the text {keep_columns!r}")
    if max_list_length is not None and (type(max_list_length) is not int or max_list_length < 1):
        raise ValueError(f"max_list_length must be a positive integer or None, not {max_list_length!r}")
    if output_format not in ("columns", "lists"):
        raise ValueError(f"output_format must be 'columns' or 'lists', not {output_format!r}")
    tables: dict[tuple[int, str, str], _Table] = {}
    found = {}
    for column, given in lookups.items():
        data, *names = given if isinstance(given, tuple) else (given,)
        if len(names) > 2:
            raise ValueError(f"lookups[{column!r}] must be a data set, (data set, id column) or (data set, id column, "
                             f"text column), not a tuple of {len(given)}")  # fmt: skip
        id_column, text_column = _columns(column, list(data.column_names), names)
        key = (id(data), id_column, text_column)
        if key not in tables:
            tables[key] = _Table.of(data, id_column, text_column)
        found[column] = tables[key]
    names = [_singular(column) for column in found]
    if len(set(names)) < len(names):
        raise InvalidData(f"two columns of {', '.join(found)} would have one name: {', '.join(names)}")
    return Resolve(found, tuple(keep_columns), max_list_length, output_format)


def _columns(column: str, names: list[str], given: Sequence[str]) -> tuple[str, str]:
    """The id column and the text column of a data set."""
    if missing := [name for name in given if name not in names]:
        raise InvalidData(f"lookups[{column!r}]: the data set has no {', '.join(missing)}, but {', '.join(names)}")
    ids = list(given[:1]) or [name for name in names if name == "id" or name.endswith("_id")]
    if len(ids) != 1:
        raise InvalidData(f"lookups[{column!r}]: which of {', '.join(names)} are the ids? Say (data set, id column)")
    texts = list(given[1:]) or [name for name in names if name not in ids]
    if len(texts) != 1:
        raise InvalidData(
            f"lookups[{column!r}]: which of {', '.join(names)} are the texts? Say (data set, id column, text column)"
        )
    return ids[0], texts[0]


def _singular(column: str) -> str:
    """The name of a resolved column: "positive" of "positive_id"."""
    for ending in ("_ids", "_id", "_idx"):
        if column.endswith(ending):
            return column.removesuffix(ending)
    return column


def _plural(column: str) -> str:
    """The name of a column of lists: "documents" of "document_ids", "queries" of "query_ids"."""
    if column.endswith("y_ids"):
        return f"{column.removesuffix('y_ids')}ies"
    return f"{column.removesuffix('_ids')}s" if column.endswith("_ids") else _singular(column)


def _read(column: str, values: Sequence[Any]) -> list[Any]:
    """The values of a column; lists that stand there as text are read."""
    if not (values and isinstance(values[0], str) and values[0].lstrip().startswith("[")):
        return list(values)
    try:
        return [ast.literal_eval(value) for value in values]
    except (ValueError, SyntaxError) as error:
        raise InvalidData(f"column {column!r} begins like lists in text, but one is none: {error}") from error


@dataclass(frozen=True, eq=False)
class _Table:
    """Texts by id; the data set keeps them."""

    data: Any
    rows: Mapping[Any, int]
    text: str

    @classmethod
    def of(cls, data: Any, ids: str, text: str) -> _Table:
        data = data.with_format(None)
        return cls(data, {value: row for row, value in enumerate(data[ids])}, text)

    def texts(self, column: str, ids: Sequence[Any]) -> list[Any]:
        """Theirs, in order; each row is read once."""
        try:
            rows = [self.rows[value] for value in ids]
        except KeyError as error:
            raise KeyError(f"column {column!r}: the id {error.args[0]!r} is none of its data set's") from None
        unique = list(dict.fromkeys(rows))
        read = dict(zip(unique, self.data.select(unique)[self.text] if unique else (), strict=True))
        return [read[row] for row in rows]


@dataclass(frozen=True, eq=False)
class Resolve:
    """The transform; see `resolve_ids`."""

    tables: Mapping[str, _Table]
    keep: tuple[str, ...]
    most: int | None
    form: str

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """A batch with texts in the place of ids."""
        made: dict[str, Any] = {}
        for column, table in self.tables.items():
            if column not in batch:
                raise KeyError(f"column {column!r} is not in the data, which has {', '.join(batch)}")
            values, name = _read(column, batch[column]), _singular(column)
            if not (values and isinstance(values[0], (list, tuple))):
                made[name] = table.texts(column, values)
                continue
            lists = [value[: self.most] for value in values]
            texts = iter(table.texts(column, [one for row in lists for one in row]))
            filled = [[next(texts) for _ in row] for row in lists]
            made.update(self._lists(column, name, filled))
        for column in self.keep:
            if column in batch:
                values = _read(column, batch[column])
                made[column] = [v[: self.most] if isinstance(v, (list, tuple)) else v for v in values]
        return made

    def _lists(self, column: str, name: str, lists: list[list[Any]]) -> dict[str, Any]:
        if self.form == "lists":
            return {_plural(column): lists}
        lengths = sorted({len(row) for row in lists})
        if len(lengths) > 1:
            raise ValueError(
                f"column {column!r}: lists of {lengths[0]} to {lengths[-1]} ids cannot become columns; say "
                "output_format='lists', or max_list_length"
            )
        return {f"{name}_{i}": list(texts) for i, texts in enumerate(zip(*lists, strict=True), 1)}
