"""All of an index in one file, for other programs."""

from __future__ import annotations

import importlib
import json
import sqlite3
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from vicinal.extras import require
from vicinal.store.files import atomic
from vicinal.store.index import schema
from vicinal.store.index.documents import read_all

_DOCUMENTS = 1024
"""Documents that are written at a time."""


def export(db: sqlite3.Connection, file: Path, path: Path, dims: int) -> int:
    """Write all documents to a .jsonl or .parquet file; how many.

    Raises:
        ValueError: the path ends otherwise. MissingExtra: .parquet needs pyarrow. DamagedIndex: something is damaged.
    """
    if path.suffix == ".jsonl":
        return _jsonl(db, file, path)
    if path.suffix == ".parquet":
        return _parquet(db, file, path, dims)
    raise ValueError(f"an index is exported to .jsonl or .parquet, not to {path.name!r}")


def _jsonl(db: sqlite3.Connection, file: Path, path: Path) -> int:
    number = 0
    with atomic(path) as output:
        for one in read_all(db, file):
            line = {"id": one.id, "text": one.text, "metadata": one.metadata}
            output.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
            number += 1
    return number


def _parquet(db: sqlite3.Connection, file: Path, path: Path, dims: int) -> int:
    arrow = require("parquet", f"writing {path}")
    columns = {
        "id": arrow.string(), "start": arrow.int64(), "stop": arrow.int64(), "text": arrow.string(),
        "metadata": arrow.string(), "vector": arrow.list_(arrow.float32(), dims),
    }  # fmt: skip
    form = arrow.schema(columns)
    documents = read_all(db, file)
    number = 0
    parquet = importlib.import_module("pyarrow.parquet")
    with atomic(path) as output, parquet.ParquetWriter(output, form) as writer:
        while portion := list(islice(documents, _DOCUMENTS)):
            number += len(portion)
            rows = [row for one in portion for row in _chunks(db, file, one)]
            writer.write_table(arrow.Table.from_pylist(rows, form))
    return number


def _chunks(db: sqlite3.Connection, file: Path, one: Any) -> Iterator[dict[str, Any]]:
    query = "SELECT chunk.id FROM chunk JOIN document ON document.id = chunk.document WHERE key = ? ORDER BY chunk.id"
    for (chunk,) in db.execute(query, (one.id,)).fetchall():
        _, start, stop = schema.read_chunk(db, file, chunk)
        row = db.execute("SELECT sum, data FROM vector WHERE chunk = ?", (chunk,)).fetchone()
        if row is None or schema.vector_sum(chunk, row[1]) != row[0]:
            raise schema.damaged(file, f"the vector of chunk {chunk} is not as it was written")
        yield {
            "id": one.id,
            "start": start,
            "stop": stop,
            "text": one.text[start:stop],
            "metadata": json.dumps(one.metadata, ensure_ascii=False),
            "vector": np.frombuffer(row[1], "<f4"),
        }
