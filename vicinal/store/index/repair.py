"""Mends an index from what is whole in it, and embeds all of it anew."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from itertools import islice
from typing import Any

from vicinal.errors import DamagedIndex
from vicinal.sentence_transformer import SentenceTransformer
from vicinal.store.index import documents, schema, verify
from vicinal.store.index.database import Database, Transaction
from vicinal.store.index.documents import Document
from vicinal.store.index.space import Space, embed

PORTION = 1024
"""Documents that are embedded at a time."""
Writing = Callable[[], AbstractContextManager[Transaction]]


def mend(
    database: Database,
    space: Space,
    model: Callable[[], SentenceTransformer],
    writing: Writing,
    options: Mapping[str, Any],
) -> list[str]:
    """Find what is damaged; compute vectors again, remove documents whose text or metadata is lost.

    Returns:
        What was damaged, in words.

    Raises:
        DamagedIndex: the SQLite file itself is, so that nothing can be written to it.
    """
    with writing() as transaction:
        db = transaction.db
        pages = [line for (line,) in db.execute("PRAGMA integrity_check(10)") if line != "ok"]
        if pages:
            raise schema.beyond_repair(database.file, "; ".join(pages)[:500])
        lost, again, found = _faults(db, database, space)
        transaction.remove(sorted(lost))
        for name, query in verify.STRAY.items():
            column = "id" if name == "chunk" else "chunk" if name == "vector" else "document"
            db.execute(f"DELETE FROM {name} WHERE {column} IN ({query})")
        whole = sorted(again - lost)
        _embedded(transaction, whole, database, space, model() if whole else None, options)
        _counted(transaction)
    return found


def _faults(db: sqlite3.Connection, database: Database, space: Space) -> tuple[set[int], set[int], list[str]]:
    """Numbers of documents that are lost, of those to be embedded again, and why, in words."""
    lost, again, found = set(), set(), []
    numbers = {number for (number,) in db.execute("SELECT id FROM document")}
    for number, what in verify.documents(db, database.file):
        try:
            documents.by_number(db, database.file, number)
        except (DamagedIndex, TypeError, ValueError, AttributeError):
            lost.add(number)
            what += ": removed"
        else:
            again.add(number)
        found.append(what)
    for number, what in verify.chunks(db, space.dims):
        found.append(what)
        if number in numbers:
            again.add(number)
    return lost, again, found


def reembed(
    database: Database, space: Space, model: SentenceTransformer, writing: Writing, options: Mapping[str, Any]
) -> tuple[list[str], Space]:
    """Divide and embed every document by another model; documents that are lost are removed.

    Returns:
        What was damaged, in words, and the new space.
    """
    limit = model.max_seq_length
    chunk_tokens = space.chunk_tokens if limit is None or (space.chunk_tokens or 0) <= limit else None
    new = Space.of(model, chunk_tokens, space.chunk_overlap)
    with writing() as transaction:
        lost, _, found = _faults(transaction.db, database, space)
        transaction.remove(sorted(lost))
        numbers = [number for (number,) in transaction.db.execute("SELECT id FROM document ORDER BY id")]
        _embedded(transaction, numbers, database, new, model, options)
        settings = database.record(transaction.db, "settings")
        schema.write_record(transaction.db, "settings", {**settings, "space": asdict(new)})
        transaction.changed = True
    return found, new


def _embedded(
    transaction: Transaction,
    numbers: Sequence[int],
    database: Database,
    space: Space,
    model: SentenceTransformer | None,
    options: Mapping[str, Any],
) -> None:
    """Embed documents that are there."""
    for portion in _portions(numbers):
        assert model is not None, "there is one where there are documents"
        ones: list[Document] = [documents.by_number(transaction.db, database.file, number) for number in portion]
        texts = [one.text for one in ones]
        ready = documents.incoming(texts, [one.id for one in ones], [one.metadata for one in ones])
        for number, one, parts in zip(portion, ready, embed(model, space, texts, **options), strict=True):
            (source,) = transaction.db.execute("SELECT source FROM document WHERE id = ?", (number,)).fetchone()
            transaction.replace(number, one, parts, source)


def _portions(numbers: Sequence[int]) -> Iterator[list[int]]:
    rest = iter(numbers)
    while portion := list(islice(rest, PORTION)):
        yield portion


def _counted(transaction: Transaction) -> None:
    """Count anew what there is."""
    state = transaction.state
    total, last = transaction.db.execute("SELECT count(*), coalesce(max(id), 0) FROM document").fetchone()
    chunks, last_chunk = transaction.db.execute("SELECT count(*), coalesce(max(id), 0) FROM chunk").fetchone()
    transaction.state = replace(
        state,
        documents=total,
        chunks=chunks,
        next_document=max(state.next_document, last + 1),
        next_chunk=max(state.next_chunk, last_chunk + 1),
    )
    transaction.changed = True
