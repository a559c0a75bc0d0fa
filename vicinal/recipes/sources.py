"""Training data from files: csv, tsv, jsonl, parquet, folders of `datasets`, retrieval sets; columns by name."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from vicinal.errors import DataNotFound, InvalidData
from vicinal.evaluation.files import RetrievalSet, read_beir
from vicinal.extras import require
from vicinal.recipes.settings import nearest
from vicinal.text.files import lines, records

LABEL = "label"
"""What the column of labels is called, whatever it was in the file."""
_LABELS = ("label", "labels", "score", "scores")
_PIECE = 10_000
"""Rows that are Python objects at a time."""

Rows = Iterator[tuple[str, dict[str, Any]]]
"""Rows by column, each with its place."""


def read(
    path: str, columns: Sequence[str] | None = None, label: str | None = None, split: str | None = None,
    limit: int | None = None, seed: int = 0, quotes: bool = True, numbered: bool = True, default: str = "train",
) -> datasets.Dataset:  # fmt: skip
    """Read texts, and labels where there are any.

    Args:
        path: a .csv, .tsv (with a header), .jsonl file (also .gz) or .parquet; a folder that `datasets` saved; or a
            retrieval set in BEIR form, of which each query and a document that belongs to it are a row.
        columns: with texts, in the order of the loss's inputs; None for all but the label's.
        label: the column of labels; None for one named label, labels, score or scores, where there is one. Numbers
            are kept, other labels numbered in their order.
        split: of a folder: the name of a part; None for the default one.
        limit: so many rows at the most, drawn at random.
        seed: of the drawing.
        numbered: False keeps labels as they are.
        default: the part of a folder that is taken where none is named.
        quotes: fields of csv and tsv may be in quotation marks; False takes these as part of the texts.

    Returns:
        The columns of texts under their names, then "label".

    Raises:
        DataNotFound: nothing is there. InvalidData: a column is missing, a text is none or empty; says where.
    """
    at = Path(path)
    if not at.exists():
        raise DataNotFound(f"{path} does not exist")
    if at.is_dir() and (at / "qrels").is_dir():
        if label is not None:
            raise InvalidData(f"{path} is a retrieval set, which has no column {label!r}")
        rows = _judged(read_beir(at, split or default))
        columns = columns or ["query", "document"]
    elif at.is_dir():
        rows = _saved(at, split, default)
    else:
        if split is not None:
            raise InvalidData(f"{path} is a file, which has no split {split!r}")
        rows = _reader(at)(at, quotes)
    found = _gathered(rows, path, columns, label, numbered)
    if limit is not None and len(found) > limit:
        chosen = np.sort(np.random.default_rng(seed).choice(len(found), limit, replace=False))
        found = found.select(chosen)
    return found


def digest_of(dataset: datasets.Dataset) -> str:
    """A digest of a data set's columns and rows."""
    made = hashlib.blake2b(json.dumps(dataset.column_names).encode(), digest_size=16)
    for row in dataset:
        made.update(json.dumps(list(row.values()), ensure_ascii=False).encode("utf-8", "surrogatepass"))
    return made.hexdigest()


def digest_of_files(path: str) -> str:
    """A digest of a file, or of all files of a folder and their names."""
    at, made = Path(path), hashlib.blake2b(digest_size=16)
    for file in sorted(one for one in at.rglob("*") if one.is_file()) if at.is_dir() else [at]:
        made.update(f"{file.relative_to(at)}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as opened:
            while piece := opened.read(1 << 20):
                made.update(piece)
    return made.hexdigest()


def texts_of(dataset: datasets.Dataset) -> Iterator[list[str]]:
    """The texts of each row."""
    for row in dataset:
        values = (value for name, value in row.items() if name != LABEL)
        yield [text for value in values for text in (value if isinstance(value, list) else [value])]


# ---- files to rows --------------------------------------------------------------------------------------------------


def _reader(path: Path) -> Callable[[Path, bool], Rows]:
    kinds = {".csv": _table, ".tsv": _table, ".jsonl": _objects, ".parquet": _parquet}
    suffix = next((s for s in path.suffixes[::-1] if s in kinds), None)
    if suffix is None:
        raise InvalidData(f"{path} must be a .csv, .tsv, .jsonl or .parquet file, or a folder")
    return kinds[suffix]


def _table(path: Path, quotes: bool) -> Rows:
    quoting = csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE
    rows = records(path, "\t" if ".tsv" in path.suffixes else ",", quoting)
    first = next(rows, None)
    if first is None:
        raise InvalidData(f"{path} is empty: it needs a header with the names of its columns")
    names = first[1]
    if twice := [name for i, name in enumerate(names) if name in names[:i]]:
        raise InvalidData(f"{first[0]}: two columns are called {twice[0]!r}")
    for place, record in rows:
        if len(record) != len(names):
            advice = "" if not quotes else "; if quotation marks are part of the texts, set quotes: false"
            raise InvalidData(f"{place} has {len(record)} columns, but the header has {len(names)}{advice}")
        yield place, dict(zip(names, record, strict=True))


def _objects(path: Path, quotes: bool) -> Rows:
    for place, line in lines(path):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError as error:
                raise InvalidData(f"{place} is not JSON: {error}") from None
            if not isinstance(row, dict):
                raise InvalidData(f"{place} must be an object, not {row!r}")
            yield place, row


def _parquet(path: Path, quotes: bool) -> Rows:
    parquet = require("parquet", str(path), "pyarrow.parquet")
    number = 0
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(_PIECE):
            for row in batch.to_pylist():
                yield f"{path}, row {number}", row
                number += 1


def _saved(folder: Path, named: str | None, default: str) -> Rows:
    try:
        found = datasets.load_from_disk(str(folder))
    except FileNotFoundError:
        raise DataNotFound(
            f"{folder} is no data: neither a retrieval set (qrels/*.tsv) nor a folder that datasets' save_to_disk wrote"
        ) from None
    split = named or default
    if not isinstance(found, datasets.DatasetDict) and named is not None:
        raise InvalidData(f"{folder} holds one set of rows, no split {named!r}: leave split out")
    if isinstance(found, datasets.DatasetDict):
        if split not in found:
            raise DataNotFound(f"{folder} has no split {split!r}: {nearest(split, found)}")
        found = found[split]
    for i, row in enumerate(found):
        yield f"{folder}, row {i}", row


def _judged(data: RetrievalSet) -> Rows:
    for query, grades in data.relevant.items():
        for document, grade in grades.items():
            if grade > 0 and document in data.corpus:
                place = f"{data.name}, query {query!r}, document {document!r}"
                yield place, {"query": data.queries[query], "document": data.corpus[document]}


# ---- rows to a data set ---------------------------------------------------------------------------------------------


def _gathered(
    rows: Rows, path: str, columns: Sequence[str] | None, label: str | None, numbered: bool
) -> datasets.Dataset:
    """The wanted columns of all rows, in Arrow's form but for a piece at a time."""
    first = next(rows, None)
    if first is None:
        raise InvalidData(f"{path} has no rows")
    wanted, label = _wanted(list(first[1]), path, columns, label)
    pieces: list[datasets.Dataset] = []
    labels: list[Any] = []
    piece: dict[str, list[Any]] = {name: [] for name in wanted}
    for place, row in _after(first, rows):
        for name in wanted:
            piece[name].append(_text(row, name, place))
        if label is not None:
            labels.append(_label(row, label, place))
        if len(piece[wanted[0]]) == _PIECE:
            pieces.append(datasets.Dataset.from_dict(piece))
            piece = {name: [] for name in wanted}
    if piece[wanted[0]]:
        pieces.append(datasets.Dataset.from_dict(piece))
    found = pieces[0] if len(pieces) == 1 else datasets.concatenate_datasets(pieces)
    return found if label is None else found.add_column(LABEL, _numbered(labels, path) if numbered else labels)


def _after(first: tuple[str, dict[str, Any]], rows: Rows) -> Rows:
    yield first
    yield from rows


def _wanted(
    there: list[str], path: str, columns: Sequence[str] | None, label: str | None
) -> tuple[list[str], str | None]:
    if label is None and columns is None:
        label = next((name for name in _LABELS if name in there), None)
    wanted = [name for name in there if name != label] if columns is None else list(columns)
    for name in [*wanted, *([] if label is None else [label])]:
        if name not in there:
            raise InvalidData(f"{path} has no column {name!r}: {nearest(name, there)}")
    if not wanted:
        raise InvalidData(f"{path} has no column of texts: {there}")
    if len(set(wanted)) < len(wanted) or label in wanted:
        raise InvalidData(f"a column of {path} is named twice: {', '.join([*wanted, *([label] if label else [])])}")
    if columns is not None and (other := [name for name in wanted if name in _LABELS or name == "dataset_name"]):
        raise InvalidData(f"{path}: {other[0]!r} is the name of a column of labels; give it as label, or rename it")
    return wanted, label


def _text(row: dict[str, Any], name: str, place: str) -> Any:
    value = row.get(name)
    for text in value if isinstance(value, list) and value else [value]:
        if not isinstance(text, str):
            raise InvalidData(f"{place}: {name!r} must be a text or a list of texts, not {text!r}")
        if not text.strip():
            raise InvalidData(f"{place}: {name!r} is empty: remove the row")
    return value


def _label(row: dict[str, Any], name: str, place: str) -> Any:
    value = row.get(name)
    if value is None or value == "":
        raise InvalidData(f"{place} has no label ({name!r})")
    if isinstance(value, (list, dict)):
        if isinstance(value, list) and all(isinstance(one, (int, float)) for one in value):
            return value
        raise InvalidData(f"{place}: the label {name!r} must be a number, a text or a list of numbers, not {value!r}")
    return value


def _numbered(labels: list[Any], path: str) -> list[Any]:
    """Labels as numbers: as they are, or as the texts say, or the place of each among all kinds.

    Raises:
        InvalidData: only some are numbers, or one is not finite.
    """
    if not any(isinstance(label, str) for label in labels):
        parts = (part for label in labels for part in (label if isinstance(label, list) else [label]))
        if not all(math.isfinite(part) for part in parts):
            raise InvalidData(f"{path} has a label that is not finite")
        return [int(label) if isinstance(label, bool) else label for label in labels]
    texts = [str(label) for label in labels]
    numbers = [_number(text) for text in texts]
    strange = [i for i, number in enumerate(numbers) if number is None]
    if not strange:
        if any(not math.isfinite(number) for number in numbers if number is not None):
            raise InvalidData(f"{path} has a label that is not finite")
        whole = all(text.strip().lstrip("+-").isdecimal() for text in texts)
        return [int(text) for text in texts] if whole else numbers
    if len(strange) < len(texts):
        raise InvalidData(
            f"{path}: {len(texts) - len(strange):,} labels are numbers, but {texts[strange[0]]!r} (row {strange[0]}, "
            f"from 0) is none: all must be numbers, or none"
        )
    places = {text: i for i, text in enumerate(sorted(set(texts)))}
    return [places[text] for text in texts]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
