"""Mined negatives as the columns of a data set, in each of the forms that losses take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from vicinal.similarity.arrays import Doubles, Indices
from vicinal.training.mining.limits import Chosen
from vicinal.training.mining.pairs import Pairs

Format = Literal["triplet", "n-tuple", "labeled-pair", "labeled-list"]


@dataclass(frozen=True)
class Mined:
    """Pairs with the negatives of their queries.

    Attributes:
        pairs: what was mined from.
        chosen: the negatives of each query.
        positive_scores: of each pair, (p,).
        ids, scores: the negatives of each pair, (p, num_negatives).
    """

    pairs: Pairs
    chosen: Chosen
    positive_scores: Doubles

    @property
    def ids(self) -> Indices:
        return self.chosen.ids[self.pairs.owner]

    @property
    def scores(self) -> Doubles:
        return self.chosen.scores[self.pairs.owner]


@dataclass(frozen=True)
class Table:
    """Columns, and what they might have held.

    Attributes:
        columns: by name.
        possible: how many rows there would be if every negative had been found.
        negatives, differences: scores of the negatives, and how far each is below its positive.
    """

    columns: dict[str, list[Any]]
    possible: int
    negatives: Doubles
    differences: Doubles


def lay_out(mined: Mined, form: Format, names: tuple[str, str], with_scores: bool) -> Table:
    """The columns of one form.

    Args:
        names: of the columns of queries and of documents.
        with_scores: scores in place of labels, or beside the texts.
    """
    found = np.isfinite(mined.scores)
    if form == "n-tuple":
        found &= found.all(1, keepdims=True)
    differences = (mined.positive_scores[:, None] - mined.scores)[found]
    columns, possible = _FORMS[form](mined, found, names, with_scores)
    return Table(columns, possible, mined.scores[found], differences)


def _triplets(mined: Mined, found: Any, names: tuple[str, str], with_scores: bool) -> tuple[dict[str, list[Any]], int]:
    pairs = mined.pairs
    rows = np.nonzero(found)[0]
    negatives = mined.ids[found].tolist()
    columns: dict[str, list[Any]] = {
        names[0]: [pairs.queries[i] for i in pairs.owner[rows].tolist()],
        names[1]: [pairs.documents[i] for i in pairs.positive[rows].tolist()],
        "negative": [pairs.documents[i] for i in negatives],
    }
    if with_scores:
        columns["scores"] = np.stack([mined.positive_scores[rows], mined.scores[found]], 1).tolist()
    return columns, found.size


def _tuples(mined: Mined, found: Any, names: tuple[str, str], with_scores: bool) -> tuple[dict[str, list[Any]], int]:
    pairs = mined.pairs
    rows = np.flatnonzero(found.all(1))
    columns: dict[str, list[Any]] = {
        names[0]: [pairs.queries[i] for i in pairs.owner[rows].tolist()],
        names[1]: [pairs.documents[i] for i in pairs.positive[rows].tolist()],
    }
    for number, ids in enumerate(mined.ids[rows].T.tolist(), 1):
        columns[f"negative_{number}"] = [pairs.documents[i] for i in ids]
    if with_scores:
        columns["scores"] = np.column_stack([mined.positive_scores[rows], mined.scores[rows]]).tolist()
    return columns, len(found)


def _labelled_pairs(
    mined: Mined, found: Any, names: tuple[str, str], with_scores: bool
) -> tuple[dict[str, list[Any]], int]:
    """Of each query its positives, then its negatives, each once."""
    pairs, chosen = mined.pairs, mined.chosen
    there = np.isfinite(chosen.scores)
    owner = np.concatenate([pairs.owner, np.nonzero(there)[0]])
    documents = np.concatenate([pairs.positive, chosen.ids[there]])
    scores = np.concatenate([mined.positive_scores, chosen.scores[there]])
    labels = np.repeat([1, 0], [len(pairs.owner), there.sum()])
    order = np.argsort(owner, kind="stable")
    values = scores if with_scores else labels
    columns: dict[str, list[Any]] = {
        names[0]: [pairs.queries[i] for i in owner[order].tolist()],
        names[1]: [pairs.documents[i] for i in documents[order].tolist()],
        "score" if with_scores else "label": values[order].tolist(),
    }
    return columns, there.size + pairs.rows


def _labelled_lists(
    mined: Mined, found: Any, names: tuple[str, str], with_scores: bool
) -> tuple[dict[str, list[Any]], int]:
    pairs = mined.pairs
    rows = np.flatnonzero(found.any(1))
    lists = [[int(pairs.positive[row]), *mined.ids[row][found[row]].tolist()] for row in rows]
    columns: dict[str, list[Any]] = {
        names[0]: [pairs.queries[i] for i in pairs.owner[rows].tolist()],
        names[1]: [[pairs.documents[i] for i in ids] for ids in lists],
    }
    if with_scores:
        columns["scores"] = [
            [float(mined.positive_scores[row]), *mined.scores[row][found[row]].tolist()] for row in rows
        ]
    else:
        columns["labels"] = [[1] + [0] * (len(ids) - 1) for ids in lists]
    return columns, len(found)


_FORMS = {
    "triplet": _triplets,
    "n-tuple": _tuples,
    "labeled-pair": _labelled_pairs,
    "labeled-list": _labelled_lists,
}
FORMATS = tuple(_FORMS)
