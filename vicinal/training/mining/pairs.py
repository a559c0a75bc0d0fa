"""What is mined from: every query once, every document once, and which belong together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vicinal.errors import InvalidData


@dataclass(frozen=True)
class Pairs:
    """Queries with their documents.

    Attributes:
        queries, documents: different texts, in the order in which they first came.
        owner, positive: of each different pair, its query's and its document's number, (p,) each, by query.
        rows: how many pairs the data set has, equal ones counted.
        most: how many of its rows have the same query, at most.
    """

    queries: list[str]
    documents: list[str]
    owner: NDArray[np.int64]
    positive: NDArray[np.int64]
    rows: int
    most: int


def read_pairs(anchors: Sequence[str], positives: Sequence[str], corpus: Iterable[str] | None) -> Pairs:
    """Number the texts; rows with the same query are all its positives.

    Args:
        anchors, positives: the texts of a row each.
        corpus: more documents.
    """
    documents = {text: i for i, text in enumerate(dict.fromkeys([*(corpus or ()), *positives]))}
    queries = {text: i for i, text in enumerate(dict.fromkeys(anchors))}
    own: list[dict[int, None]] = [{} for _ in queries]
    for anchor, positive in zip(anchors, positives, strict=True):
        own[queries[anchor]][documents[positive]] = None
    return Pairs(
        list(queries),
        list(documents),
        np.repeat(np.arange(len(own)), [len(found) for found in own]),
        np.fromiter((i for found in own for i in found), np.int64),
        len(anchors),
        max(Counter(anchors).values()),
    )


def columns_of(dataset: Any, anchor: str | None, positive: str | None) -> tuple[str, str]:
    """The names of the two columns: those given, else the first and the second.

    Raises:
        TypeError: it is no `datasets.Dataset`. InvalidData: it is empty, or has no such column.
    """
    names = getattr(dataset, "column_names", None)
    if not isinstance(names, list) or not hasattr(dataset, "__len__"):
        raise TypeError(f"mine_hard_negatives takes a datasets.Dataset with its rows, not {type(dataset).__name__}")
    if len(dataset) == 0:
        raise InvalidData("the data set to mine from has no rows")
    if len(names) < 2 and not (anchor and positive):
        raise InvalidData(f"mining needs a column of queries and one of documents; the data set has {names}")
    for argument, name in (("anchor_column_name", anchor), ("positive_column_name", positive)):
        if name is not None and name not in names:
            raise InvalidData(f"{argument}={name!r} is none of the data set's columns: {', '.join(names)}")
    chosen = (anchor or names[0], positive or names[1])
    if chosen[0] == chosen[1]:
        raise InvalidData(f"queries and documents would both come from the column {chosen[0]!r}; name two columns")
    return chosen


def texts_of(rows: Iterable[Any], name: str) -> list[str]:
    """A column's texts.

    Raises:
        InvalidData: a row is no text; it is named.
    """
    texts = list(rows)
    wrong = next((i for i, text in enumerate(texts) if not isinstance(text, str)), None)
    if wrong is not None:
        raise InvalidData(f"{name}, row {wrong}, is {texts[wrong]!r} ({type(texts[wrong]).__name__}), not a text")
    return texts
