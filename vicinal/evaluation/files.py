"""Reads sets to evaluate on: retrieval sets in BEIR form, and tables of pairs with a score."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vicinal import report
from vicinal.errors import DataNotFound, EvaluationWarning, InvalidData
from vicinal.text.files import columns, lines, records

PAIR_COLUMNS = ("sentence1", "sentence2", "score")
"""What the columns of a table of pairs are called, where the caller does not say."""


@dataclass(frozen=True)
class RetrievalSet:
    """Queries, documents, and which belong together.

    Attributes:
        name: of folder and split.
        queries, corpus: texts by id; a document is its title, a space and its text.
        relevant: for each query, the grade of each relevant document.
    """

    name: str
    queries: dict[str, str]
    corpus: dict[str, str]
    relevant: dict[str, dict[str, float]]


@dataclass(frozen=True)
class PairSet:
    """Pairs of texts with a score that people gave them; a column each."""

    name: str
    sentences1: list[str]
    sentences2: list[str]
    scores: list[float]


def read_beir(folder: str | os.PathLike[str], split: str | None = None) -> RetrievalSet:
    """Read a retrieval set: corpus.jsonl, queries.jsonl and qrels/{split}.tsv, each of them also as .gz.

    Args:
        split: None takes "test", or the only one.

    Raises:
        DataNotFound: a file is missing. InvalidData: a line is not as it must be, or a judged query has no text.

    Warns:
        EvaluationWarning: judged documents are not in the corpus, and count as not found.
    """
    at = Path(folder)
    qrels = _qrels(at, split)
    relevant: dict[str, dict[str, float]] = {}
    for place, record in _judgments(qrels):
        query, document, said = columns(record, (0, 1, 2), place)
        relevant.setdefault(query, {})[document] = _number(said, place)
    queries = {str(row["_id"]): _text(row, place) for place, row in _objects(at, "queries")}
    if missing := [query for query in relevant if query not in queries]:
        raise InvalidData(f"{qrels} judges query {missing[0]!r}, which the queries lack ({len(missing)} such queries)")
    corpus = {}
    for place, row in _objects(at, "corpus"):
        corpus[str(row["_id"])] = f"{row.get('title') or ''} {_text(row, place)}".strip()
    absent = sum(document not in corpus for grades in relevant.values() for document, g in grades.items() if g > 0)
    if absent:
        report.warn(
            f"{absent} relevant documents of {qrels} are not in the corpus, and count as not found", EvaluationWarning
        )
    name = f"{at.resolve().name}/{qrels.name.partition('.')[0]}"
    return RetrievalSet(name, {query: queries[query] for query in relevant}, corpus, relevant)


def read_corpus(folder: str | os.PathLike[str]) -> Iterator[tuple[str, str]]:
    """The documents of a retrieval set, each as its title ("" where it has none) and its text."""
    for place, row in _objects(Path(folder), "corpus"):
        yield str(row.get("title") or "").strip(), _text(row, place).strip()


def _qrels(at: Path, split: str | None) -> Path:
    found = {path.name.partition(".")[0]: path for path in sorted(at.glob("qrels/*.tsv*"))}
    if not found:
        raise DataNotFound(f"{at} is no retrieval set: it has no file qrels/*.tsv")
    if split is None:
        split = "test" if "test" in found else next(iter(found)) if len(found) == 1 else None
    if split not in found:
        wanted = "say which split" if split is None else f"it has no split {split!r}"
        raise DataNotFound(f"{at}: {wanted}; there are {', '.join(found)}")
    return found[split]


def _judgments(path: Path) -> Iterator[tuple[str, list[str]]]:
    """The records without the header, where there is one."""
    for number, (place, record) in enumerate(records(path, "\t", csv.QUOTE_NONE)):
        if number or record[-1].lstrip("-").replace(".", "", 1).isdigit():
            yield place, record


def _objects(at: Path, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    path = next((at / f for f in (f"{name}.jsonl", f"{name}.jsonl.gz") if (at / f).exists()), None)
    if path is None:
        raise DataNotFound(f"{at} is no retrieval set: it has neither {name}.jsonl nor {name}.jsonl.gz")
    for place, line in lines(path):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError as error:
                raise InvalidData(f"{place} is not JSON: {error}") from None
            if not isinstance(row, dict) or "_id" not in row:
                raise InvalidData(f"{place} must be an object with '_id' and 'text'")
            yield place, row


def _text(row: dict[str, Any], place: str) -> str:
    if not isinstance(row.get("text"), str):
        raise InvalidData(f"{place}: 'text' must be a string, not {row.get('text')!r}")
    return str(row["text"])


def _number(said: str, place: str) -> float:
    try:
        return float(said)
    except ValueError:
        raise InvalidData(f"{place}: the score must be a number, not {said!r}") from None


def read_pairs(path: str | os.PathLike[str], names: Sequence[str] | None = None, quotes: bool = True) -> PairSet:
    """Read pairs with a score from a .tsv or .csv file, also as .gz.

    Args:
        names: of the columns with the first text, the second and the score, in the header; or their numbers from 1, for
            a file without a header. None takes sentence1, sentence2 and score, or three columns without a header.
        quotes: fields may be in quotation marks; False takes these as part of the texts.

    Raises:
        InvalidData: a column is missing, or a score is no number.
    """
    at = Path(path)
    kind = next((s for s in at.suffixes[::-1] if s in (".tsv", ".csv")), None)
    if kind is None:
        raise InvalidData(f"{at} is neither a folder in BEIR form nor a .tsv or .csv file")
    rows = records(at, "\t" if kind == ".tsv" else ",", csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE)
    first = next(rows, None)
    if first is None:
        raise InvalidData(f"{at} is empty")
    wanted, headed = _wanted(first[1], names, at)
    first_texts, second_texts, scores = [], [], []
    for place, record in rows if headed else _after(first, rows):
        one, two, said = columns(record, wanted, place)
        first_texts.append(one)
        second_texts.append(two)
        scores.append(_number(said, place))
    return PairSet(at.name.partition(".")[0], first_texts, second_texts, scores)


def _after(first: tuple[str, list[str]], rows: Iterator[tuple[str, list[str]]]) -> Iterator[tuple[str, list[str]]]:
    yield first
    yield from rows


def _wanted(first: list[str], names: Sequence[str] | None, path: Path) -> tuple[list[int], bool]:
    """Which columns are wanted, and whether the first record is a header."""
    if names is not None and all(name.isdigit() and int(name) > 0 for name in names):
        return [int(name) - 1 for name in names], False
    asked = list(names or PAIR_COLUMNS)
    if all(name in first for name in asked):
        return [first.index(name) for name in asked], True
    if names is None and len(first) == 3 and first[2].replace(".", "", 1).isdigit():
        return [0, 1, 2], False
    raise InvalidData(
        f"{path} must have the columns {', '.join(asked)}; its first line has {', '.join(map(repr, first))}. Name the "
        "columns of the two texts and the score, or give their numbers if there is no header"
    )
