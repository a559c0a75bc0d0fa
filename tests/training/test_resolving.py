"""Texts in the place of ids, beside sentence-transformers."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import pytest
from datasets import Dataset

from vicinal import resolve_ids
from vicinal.errors import InvalidData

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from sentence_transformers.util import resolve_ids as theirs

QUERIES = Dataset.from_dict({"id": [3, 1, 2], "text": ["three", "one", "two"]})
DOCUMENTS = Dataset.from_dict({"doc_id": ["a", "b", "c"], "title": ["A", "B", "C"], "text": ["aa", "bb", "cc"]})
TRIPLES = Dataset.from_dict({"query_id": [1, 3], "document_ids": [["a", "b"], ["c", "a"]], "other": [0, 0],
                             "scores": [[1.0, 0.5], [0.3, 0.2]]})  # fmt: skip
LOOKUPS = {"query_id": QUERIES, "document_ids": (DOCUMENTS, "doc_id", "text")}


@pytest.mark.parametrize(
    "options", [{}, {"output_format": "lists"}, {"max_list_length": 1}, {"keep_columns": ["other"]}]
)
def test_the_same_rows(options: Any) -> None:
    made = [resolve(LOOKUPS, **options)(TRIPLES[:]) for resolve in (resolve_ids, theirs)]
    assert made[0] == made[1]
    assert list(made[0]) == list(made[1])


def test_a_data_set_with_it() -> None:
    found = TRIPLES.with_format(None)
    found.set_transform(pickle.loads(pickle.dumps(resolve_ids(LOOKUPS))))
    assert found[1] == {"query": "three", "document_1": "cc", "document_2": "aa", "scores": [0.3, 0.2]}


def test_names_and_lists_in_text() -> None:
    rows = {"positive_id": ["a"], "query_ids": ["[1, 2]"], "scores": ["[0.1, 0.2]"]}
    lookups = {"query_ids": QUERIES, "positive_id": DOCUMENTS.remove_columns("title")}
    made = [resolve(lookups, output_format="lists")(rows) for resolve in (resolve_ids, theirs)]
    assert made[0] == made[1] == {"queries": [["one", "two"]], "positive": ["aa"], "scores": [[0.1, 0.2]]}


def test_what_cannot_be_resolved() -> None:
    with pytest.raises(InvalidData, match="which of doc_id, title, text are the texts"):
        resolve_ids({"document_id": DOCUMENTS})
    with pytest.raises(InvalidData, match="no body"):
        resolve_ids({"document_id": (DOCUMENTS, "doc_id", "body")})
    with pytest.raises(KeyError, match="9"):
        resolve_ids({"query_id": QUERIES})({"query_id": [9]})
    with pytest.raises(ValueError, match="1 to 2 ids"):
        resolve_ids(LOOKUPS)({"query_id": [1, 3], "document_ids": [["a"], ["a", "b"]]})
    with pytest.raises(ValueError, match="max_list_length"):
        resolve_ids(LOOKUPS, max_list_length=0)
    with pytest.raises(ValueError, match="output_format"):
        resolve_ids(LOOKUPS, output_format="rows")  # type: ignore[arg-type]
    with pytest.raises(InvalidData, match="one name"):
        resolve_ids({"query_id": QUERIES, "query_ids": QUERIES})
