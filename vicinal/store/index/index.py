"""A semantic index of documents in a folder."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vicinal.errors import IndexBusy, SpaceMismatch
from vicinal.extras import require
from vicinal.sentence_transformer import SentenceTransformer
from vicinal.store.index import documents, schema
from vicinal.store.index.builder import SEARCHES, UNKNOWN, Builder, Search
from vicinal.store.index.database import Database, State, Transaction, find
from vicinal.store.index.documents import Document, Incoming
from vicinal.store.index.export import export
from vicinal.store.index.place import appearing
from vicinal.store.index.search import Searcher, queries
from vicinal.store.index.space import Embedded, Space, embed, open_model
from vicinal.store.index.writes import differs, given, none_there, put, say_blank

if TYPE_CHECKING:
    from typing_extensions import Self

_ATTEMPTS = 100


class Index:
    """Documents with their vectors, in a folder: what is committed is there whatever happens to the process.

    Made by `Index.create`, found again by `Index.open`. Any number of processes and threads may read while one writes.

    >>> import tempfile
    >>> from vicinal import Index, SentenceTransformer
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with Index.create(folder + "/docs.vicinal", SentenceTransformer()) as index:
    ...         ids = index.add(["Items can be returned.", "We sell tea."], ids=["returns", "tea"])
    ...         index.search("how do I send something back?", top_k=1)[0].id
    'returns'
    """

    def __init__(
        self,
        database: Database,
        space: Space,
        search: Search,
        model: SentenceTransformer | str | os.PathLike[str] | None,
    ) -> None:
        self.path = database.folder
        self._database, self._space, self._search_by = database, space, search
        self._named, self._model = model, model if isinstance(model, SentenceTransformer) else None
        self._checked: Any = None
        self._builder = Builder(database, search)
        self._searcher = Searcher(database, self._builder)

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        model: SentenceTransformer | str | os.PathLike[str] | None = None,
        *,
        chunk_tokens: int | None = None,
        chunk_overlap: int = 0,
        search: Search = "auto",
        timeout: float = 30.0,
    ) -> Self:
        """Make an empty index.

        Args:
            path: a folder that is not there yet, or is empty.
            model: turns documents and queries into vectors; a name is loaded. None is the model that vicinal brings.
            chunk_tokens, chunk_overlap: how documents beyond the model's length are divided, see
                `vicinal.chunked.encode_long`.
            search: "exact" looks at every vector. "int8" looks at a byte a dimension first, and finds the same;
                "binary" at a bit a dimension, "hnsw" and "ivf" at a part of the vectors: these can miss some. All but
                "exact" need the extra `faiss`. "auto" is exact up to 100,000 vectors, "hnsw" beyond.
            timeout: seconds that a write waits for another one.

        Raises:
            IndexExists: something is there already. MissingExtra: `search` needs FAISS, which is not installed.
        """
        if search not in SEARCHES:
            raise ValueError(f"search must be one of {', '.join(map(repr, SEARCHES))}, not {search!r}")
        folder = Path(path)
        model = open_model(model)
        space = Space.of(model, chunk_tokens, chunk_overlap)
        if search in UNKNOWN.get(space.similarity, ()):
            raise ValueError(f"search={search!r} knows no {space.similarity} distance: say search='exact'")
        if search not in ("auto", "exact"):
            require("faiss", f"search={search!r}")
        settings = {"space": asdict(space), "search": search}
        state = asdict(State(token=uuid.uuid4().hex))
        with appearing(folder) as new:
            db = schema.connect(new / schema.FILE, timeout, create=True)
            try:
                schema.prepare(db, new / schema.FILE, {"settings": settings, "state": state})
            finally:
                db.close()
        return cls(Database(folder, timeout), space, search, model)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        model: SentenceTransformer | str | os.PathLike[str] | None = None,
        *,
        timeout: float = 30.0,
    ) -> Self:
        """Open an index.

        Args:
            path: its folder.
            model: the one it was made with; None finds it again by its name once it is needed.
            timeout: seconds that a write waits for another one.

        Raises:
            IndexNotFound: there is none. DamagedIndex: it cannot be read.
            SpaceMismatch: it was made with another model than the one that is given; both are named.
        """
        database = Database(Path(path), timeout)
        try:
            db = database.connect()
            try:
                schema.prepare(db, database.file)
                with schema.speaking(database.file):
                    settings = database.record(db, "settings")
            finally:
                db.close()
            index = cls(database, Space(**settings["space"]), settings["search"], model)
            if model is not None:
                _ = index.model
            return index
        except BaseException:
            database.close()
            raise

    # ---- the model -------------------------------------------------------------------------------------------------

    @property
    def model(self) -> SentenceTransformer:
        """Turns documents and queries into vectors.

        Raises:
            SpaceMismatch: it is another one than the index was made with. ModelNotFound: it is not where it was.
        """
        if self._model is None:
            self._model = self._space.load(self.path) if self._named is None else open_model(self._named)
        now = (self._model.spec, self._model._engine)
        if self._checked is None or any(a is not b for a, b in zip(now, self._checked, strict=True)):
            self._space.check(self._model, self.path)
            self._checked = now
        return self._model

    def _embedded(self, rows: Sequence[Incoming], vectors: Any, options: Mapping[str, Any]) -> list[Embedded]:
        if vectors is not None:
            return given(rows, vectors, self._space.dims)
        say_blank(rows)
        return embed(self.model, self._space, [one.text for one in rows], **options) if rows else []

    # ---- writing ---------------------------------------------------------------------------------------------------

    def add(
        self,
        texts: Iterable[str],
        ids: Sequence[str] | None = None,
        metadata: Sequence[Mapping[str, Any] | None] | None = None,
        *,
        vectors: Any = None,
        **options: Any,
    ) -> list[str]:
        """Add documents, in one transaction: all of them are there when the call returns, or none.

        Args:
            texts: of any length; long ones are divided into chunks, each with a vector of its own.
            ids: their ids; without them, random ones.
            metadata: a mapping from names to JSON values for each.
            vectors: (n, dims) of the whole texts, made by this model; without them, they are computed.
            options: of `encode_document`: show_progress_bar, batch_size, batch_tokens.

        Returns:
            The ids.

        Raises:
            DuplicateId: a document of that id is there already (`upsert` replaces it), or given twice.
            InvalidInput: a text, an id or a metadata value is none; the row is named.
            IndexBusy: another process writes, and is not done within the timeout.
        """
        rows = documents.incoming(texts, ids, metadata)
        if ids is not None:
            with self._database.snapshot() as (db, _):
                none_there(find(db, [one.key for one in rows]))
        embedded = self._embedded(rows, vectors, options)
        with self._writing() as transaction:
            none_there(transaction.find([one.key for one in rows]))
            transaction.insert(rows, embedded)
        self._searcher.written(self._space)
        return [one.key for one in rows]

    def upsert(
        self,
        texts: Iterable[str],
        ids: Sequence[str],
        metadata: Sequence[Mapping[str, Any] | None] | None = None,
        *,
        vectors: Any = None,
        **options: Any,
    ) -> int:
        """Add documents, or replace those of the same ids, in one transaction.

        A document whose text is the same is not embedded again; its metadata is replaced.

        Args:
            as those of `add`.

        Returns:
            How many were added or changed.
        """
        rows = documents.incoming(texts, ids, metadata)
        ready: dict[str, Embedded] = {}
        if vectors is not None:
            ready = dict(zip((one.key for one in rows), given(rows, vectors, self._space.dims), strict=True))
        return self._replace(rows, ready, options)

    def _replace(
        self,
        rows: Sequence[Incoming],
        ready: dict[str, Embedded],
        options: Mapping[str, Any],
        prepare: Callable[[Transaction], Mapping[str, int]] = lambda transaction: {},
    ) -> int:
        """Write documents in one transaction, after those that need it are embedded; how many were new or changed.

        Args:
            ready: what is embedded already.
            prepare: is called first in the transaction; says which source each document is from.
        """
        with self._database.snapshot() as (db, _):
            there = find(db, [one.key for one in rows])
        for _ in range(_ATTEMPTS):
            missing = [one for one in rows if one.key not in ready and differs(one, there)]
            embedded = self._embedded(missing, None, options)
            ready |= {one.key: parts for one, parts in zip(missing, embedded, strict=True)}
            with self._writing() as transaction:
                there = transaction.find([one.key for one in rows])
                if any(one.key not in ready and differs(one, there) for one in rows):
                    continue  # another process wrote one of them meanwhile
                changed = put(transaction, rows, there, ready, prepare(transaction))
            self._searcher.written(self._space)
            return changed
        raise IndexBusy(f"other processes change the same documents of {self.path} again and again")

    def delete(self, ids: str | Iterable[str]) -> int:
        """Remove documents, in one transaction; how many were there."""
        keys = documents.check_ids(ids)
        with self._writing() as transaction:
            found = transaction.find(keys)
            transaction.remove([number for number, _, _ in found.values()])
        self._searcher.written(self._space)
        return len(found)

    def _writing(self) -> Any:
        return self._database.writing(self._same_space)

    def _same_space(self, settings: Mapping[str, Any]) -> None:
        """Refuse what would mix two spaces: the index may have been rebuilt with another model since it was opened."""
        now = Space(**settings["space"])
        if now != self._space:
            raise SpaceMismatch(
                f"index at {self.path} was rebuilt since it was opened: now with {now.described}, before with "
                f"{self._space.described}. Open it again"
            )

    # ---- reading ---------------------------------------------------------------------------------------------------

    def search(
        self,
        query: Any,
        top_k: int = 10,
        where: Mapping[str, Any] | None = None,
        *,
        chunks: bool = False,
        exact: bool | None = None,
    ) -> Any:
        """The documents nearest to a query, best first; of equal scores the one that was added first.

        Args:
            query: a text or a list of texts; or a vector (dims,) or several (q, dims), made by the same model.
            top_k: how many.
            where: only documents whose metadata meet it: `{"lang": "en"}`, `{"year": {">=": 2020, "!=": 2022}}`,
                `{"or": [...]}`, `{"not": {...}}`, operators =, !=, <, <=, >, >=, in, nin, exists. The search is exact
                among them.
            chunks: every chunk of a document is a hit of its own; else a document is one hit, its best chunk.
            exact: look at every vector; None is as the index was made.

        Returns:
            A list of `Hit`; a list of lists where several queries are given. `hit.span` says where `hit.text` stands in
            its document, None for all of it.

        Raises:
            InvalidFilter, DimensionMismatch, SpaceMismatch, DamagedIndex.
        """
        if type(top_k) is not int or top_k < 1:
            raise ValueError(f"top_k must be a positive integer, not {top_k!r}")
        vectors, single = queries(query, self._space, lambda: self.model)
        found = self._searcher.search(vectors, top_k, where, chunks, bool(exact), self._same_space)
        return found[0] if single else found

    def get(self, ids: str | Iterable[str]) -> Any:
        """The document of an id, None where there is none; a list of them for several ids."""
        single = isinstance(ids, str)
        keys = documents.check_ids(ids)
        with self._database.snapshot() as (db, _):
            found = {key: documents.read(db, self._database.file, key) for key in keys}
        return found[keys[0]] if single else [found[key] for key in keys]

    def __len__(self) -> int:
        """How many documents there are."""
        with self._database.snapshot() as (_, state):
            return state.documents

    def ids(self) -> list[str]:
        """The ids of all documents, in the order in which they came."""
        with self._database.snapshot() as (db, _):
            return [key for (key,) in db.execute("SELECT key FROM document ORDER BY id")]

    def documents(self) -> Iterator[Document]:
        """All documents, in the order in which they came, as they are committed now."""
        with self._database.snapshot() as (db, _):
            yield from documents.read_all(db, self._database.file)

    def info(self) -> dict[str, Any]:
        """What the index is: path, documents, chunks, model, dims, search and the rest, for people."""
        with self._database.snapshot() as (_, state):
            return {
                "path": str(self.path),
                "documents": state.documents,
                "chunks": state.chunks,
                "generation": state.generation,
                "search": self._search_by,
                **asdict(self._space),
            }

    # ---- keeping ---------------------------------------------------------------------------------------------------

    def export(self, path: str | os.PathLike[str]) -> int:
        """Write all documents to a file: `.jsonl` has id, text and metadata; `.parquet` a row a chunk, with its vector.

        The file appears when it is complete.

        Returns:
            How many documents.
        """
        with self._database.snapshot() as (db, _):
            return export(db, self._database.file, Path(path), self._space.dims)

    def backup(self, path: str | os.PathLike[str]) -> None:
        """Copy the index as it is committed now into a new folder, which appears when it is complete.

        Raises:
            IndexExists: something is there already. MissingExtra: `search` needs FAISS, which is not installed.
        """
        with appearing(Path(path)) as new, self._database.snapshot() as (db, _):
            schema.copy(db, new / schema.FILE)

    def verify(self) -> list[str]:
        """Read everything, and compare it with its checksums: what is wrong, in words; empty where all is well."""
        from vicinal.store.index.verify import verify

        with self._database.snapshot() as (db, state):
            return verify(db, self.path, state, self._space)

    def compact(self) -> None:
        """Give back the room of what was deleted, and make the files for searching anew.

        Raises:
            IndexBusy: another process writes, or builds.
        """
        self._builder.join()
        self._builder.build(self._space, fresh=True, wait=True)
        with self._writing() as transaction:
            transaction.forget()
        self._database.vacuum()
        self._searcher.written(self._space)

    def optimize(self) -> None:
        """Make the files for searching now, rather than in the background."""
        self._builder.join()
        self._builder.build(self._space, wait=True)

    def rebuild(self, model: SentenceTransformer | str | os.PathLike[str] | None = None, **options: Any) -> list[str]:
        """Mend the index, or embed all of it again with another model.

        Without a model: documents and vectors that are damaged are found; vectors are computed again, documents whose
        text or metadata is lost are removed; the files for searching are made anew. With one: every document is divided
        and embedded by it. Either is one transaction: until it ends, readers find what was there.

        Args:
            model: the new one, or its name.
            options: of `encode_document`.

        Returns:
            What was damaged, in words.
        """
        from vicinal.store.index.repair import mend, reembed

        self._builder.join()
        if model is None:
            found = mend(self._database, self._space, lambda: self.model, self._writing, options)
        else:
            self._model = open_model(model)
            found, self._space = reembed(self._database, self._space, self._model, self._writing, options)
            self._checked = None
        self._builder.build(self._space, fresh=True, wait=True)
        self._searcher.forget()
        return found

    def close(self) -> None:
        """Let go of the files; what is built in the background is given up. The model stays open."""
        self._builder.stop()
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Index({str(self.path)!r}, {self._space.described}, search={self._search_by!r})"
