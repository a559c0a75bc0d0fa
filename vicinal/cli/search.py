"""`vicinal search`: what is nearest in meaning to a question: lines of some files, or documents of an index."""

from __future__ import annotations

import heapq
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from vicinal.cli import options as o
from vicinal.cli import readers, terminal
from vicinal.cli import rows as r
from vicinal.cli.embedding import embed
from vicinal.errors import InvalidInput

if TYPE_CHECKING:
    from vicinal.sentence_transformer import SentenceTransformer


_CANDIDATES = 50
"""Lines that a reranker scores where the caller does not say."""


class Hit(NamedTuple):
    """A row that was found."""

    score: float
    row: r.Row


def search(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What is looked for.")],
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE",
            show_default=False,
            help="Files; folders, for the .txt, .md and .rst files below; - is stdin. None with --index.",
        ),
    ] = None,
    index: Annotated[
        str | None,
        typer.Option(
            "--index", metavar="INDEX", show_default=False, help="Search this index (vicinal index build makes one)."
        ),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            "--where",
            metavar="JSON",
            show_default=False,
            help='With --index: only documents whose metadata meet this, such as {"year": {">=": 2020}}.',
        ),
    ] = None,
    rerank: Annotated[
        str | None,
        typer.Option(
            "--rerank",
            metavar="MODEL",
            show_default=False,
            help="Score the best by this cross-encoder, and show them in its order.",
        ),
    ] = None,
    candidates: Annotated[
        int | None,
        typer.Option(
            "--candidates",
            metavar="N",
            min=1,
            show_default=str(_CANDIDATES),
            help="With --rerank: so many are scored again (--top-k at least).",
        ),
    ] = None,
    rerank_weight: Annotated[
        float | None,
        typer.Option(
            "--rerank-weight",
            metavar="WEIGHT",
            min=0,
            max=1,
            show_default=False,
            help="With --rerank: its score counts so much beside the first one, 0 to 1. Without, it alone decides.",
        ),
    ] = None,
    top_k: Annotated[int, typer.Option("--top-k", "-k", metavar="N", min=1, help="Show so many lines.")] = 5,
    min_score: Annotated[
        float | None,
        typer.Option("--min-score", metavar="SCORE", show_default=False, help="Show only this score or more."),
    ] = None,
    model: o.ModelName = None,
    query_prompt: Annotated[
        str | None,
        typer.Option(
            "--query-prompt",
            metavar="TEXT",
            show_default=False,
            help="Put this text before the query; without it, the model's own prompt.",
        ),
    ] = None,
    document_prompt: Annotated[
        str | None,
        typer.Option(
            "--document-prompt",
            metavar="TEXT",
            show_default=False,
            help="Put this text before every line; without it, the model's own prompt.",
        ),
    ] = None,
    truncate_dim: o.TruncateDim = None,
    truncation: o.TruncationOption = o.Truncation.warn,
    format: r.FormatOption = None,
    column: r.Column = None,
    field: r.Field = "text",
    encoding: r.Encoding = "utf-8",
    no_quotes: r.NoQuotes = False,
    dtype: o.DtypeOption = o.Dtype.auto,
    backend: o.BackendOption = o.Backend.auto,
    threads: o.Threads = None,
    batch_tokens: o.BatchTokens = None,
    as_json: o.Json = False,
) -> None:
    """Find the lines, or the documents of an index, that are nearest in meaning to a query.

    Blank lines are passed over. Each result is a score, file:line and the text, separated by tabs where the output is
    not a terminal. Nothing is kept: files are read and encoded anew each time. With --index, what `vicinal index build`
    has kept is searched instead, by the model that made it; a result is a score, the document and the text.

    \b
    Examples:
      vicinal search "how long do I have to return an item?" examples/shop-faq.txt
      vicinal search "what did we decide about prices?" notes/ --top-k 20 --json
      git log --format=%s | vicinal search "fix a crash" -
      vicinal search "how do I return an item?" --index docs.vicinal --rerank cross-encoder/ms-marco-MiniLM-L6-v2
    """
    if not query.strip():
        raise typer.BadParameter("the query is empty", param_hint="QUERY")
    options = o.ModelOptions(model, dtype, backend, threads, truncate_dim)
    for name, value in (("--rerank-weight", rerank_weight), ("--candidates", candidates)):
        if rerank is None and value is not None:
            raise typer.BadParameter("needs --rerank MODEL", param_hint=name)
    depth = top_k if rerank is None else max(top_k, candidates or _CANDIDATES)
    if index is None:
        if not inputs:
            raise typer.BadParameter("say which files, or --index", param_hint="FILE")
        if where is not None:
            raise typer.BadParameter("a filter needs --index", param_hint="--where")
        asked = Question(query, query_prompt, document_prompt, depth, truncation, batch_tokens)
        found, facts = _of_files(asked, inputs, r.Reading(format, column, field, encoding, no_quotes), options)
    else:
        if inputs:
            raise typer.BadParameter("give files or --index, not both", param_hint="--index")
        found, facts = _of_index(index, query, where, depth, options)
    if rerank is not None:
        found = _reranked(rerank, query, found, options, rerank_weight, truncation)
        facts["reranker"] = rerank
        if rerank_weight is not None:
            facts["reranker_weight"] = rerank_weight
    hits = [hit for hit in found[:top_k] if min_score is None or hit.score >= min_score]
    if as_json:
        listed = [{"score": round(h.score, 6), **h.facts, "text": h.text} for h in hits]
        typer.echo(json.dumps({**facts, "hits": listed}))
    elif not hits:
        terminal.say("nothing is found" if min_score is None else f"nothing scores {min_score} or more")
    else:
        _show(hits)


class Found(NamedTuple):
    """What is shown of a result."""

    score: float
    place: str
    text: str
    facts: dict[str, Any]


def _of_files(
    asked: Question, inputs: list[str], reading: r.Reading, options: o.ModelOptions
) -> tuple[list[Found], dict[str, Any]]:
    """The best rows of files, and what searched them."""
    names = r.files(inputs)
    reading.check(names)
    model = options.load()
    hits = asked.hits(model, names, reading)
    found = [Found(h.score, h.row.place, h.row.text, {"file": h.row.file, "line": h.row.line}) for h in hits]
    return found, _facts(asked.query, model)


def _of_index(
    path: str, query: str, where: str | None, top_k: int, options: o.ModelOptions
) -> tuple[list[Found], dict[str, Any]]:
    """The best documents of an index, and what searched it."""
    from vicinal.store.index import Index

    try:
        wanted = None if where is None else json.loads(where)
    except ValueError as error:
        raise typer.BadParameter(f"{where} is not JSON: {error}", param_hint="--where") from None
    with Index.open(path, options.load() if options.name is not None else None) as opened:
        hits = opened.search(query, top_k, wanted)
        facts = _facts(query, opened.model)
    return [Found(h.score, h.id, h.text, {"id": h.id, "span": h.span, "metadata": h.metadata}) for h in hits], facts


def _facts(query: str, model: SentenceTransformer) -> dict[str, Any]:
    return {"query": query, "model": model.name, "similarity": model.similarity_fn_name}


def _reranked(
    name: str,
    query: str,
    found: list[Found],
    options: o.ModelOptions,
    weight: float | None,
    truncation: o.Truncation,
) -> list[Found]:
    """The same in the order of a cross-encoder, or of both scores; of equal ones the first order is kept."""
    from vicinal.cross_encoder import CrossEncoder
    from vicinal.retrieval.fusion import weighted

    if not found:
        return found
    reranker = CrossEncoder(name, dtype=options.dtype.value, threads=options.threads)
    pairs = [(query, hit.text) for hit in found]
    scores = reranker.predict(pairs, show_progress_bar=False, truncation=truncation.value)
    if weight is not None:
        scores = weighted([hit.score for hit in found], scores, weight)
    again = [hit._replace(score=score) for hit, score in zip(found, scores.tolist(), strict=True)]
    return sorted(again, key=lambda hit: -hit.score)


@dataclass(frozen=True)
class Question:
    """What is looked for, and how."""

    query: str
    query_prompt: str | None
    document_prompt: str | None
    top_k: int
    truncation: o.Truncation
    batch_tokens: int | None

    def hits(self, model: SentenceTransformer, names: list[str], reading: r.Reading) -> list[Hit]:
        """The best rows, best first; of equal scores the earlier row comes first.

        Raises:
            InvalidInput: there is no text at all.
        """
        best: list[Hit] = []
        some = False
        for portion in self._scored(model, names, reading):
            some = True
            best = heapq.nlargest(self.top_k, [*best, *portion], key=lambda hit: hit.score)
        if not some:
            raise InvalidInput(f"there is no text in {', '.join('stdin' if n == r.STDIN else n for n in names)}")
        return best

    def _scored(self, model: SentenceTransformer, names: list[str], reading: r.Reading) -> Iterator[list[Hit]]:
        """The best hits of every portion of rows."""
        from vicinal.similarity import SimilarityFunction
        from vicinal.util import semantic_search

        score = SimilarityFunction.to_similarity_fn(model.similarity_fn_name)
        options: dict[str, Any] = {"truncation": self.truncation.value, "batch_tokens": self.batch_tokens}
        with terminal.naming(["the query"]):
            vector = model.encode_query([self.query], prompt=self.query_prompt, **options)
        rows = (row for row in readers.read(names, reading) if row.text.strip())
        total = partial(readers.count, names, reading)
        for portion, vectors in embed(rows, total, model.encode_document, prompt=self.document_prompt, **options):
            found = semantic_search(vector, vectors, top_k=self.top_k, score_function=score)[0]
            yield [Hit(hit["score"], portion[hit["corpus_id"]]) for hit in found]


_CUT = 500
"""Characters of a text that a terminal is shown."""


def _show(hits: list[Found]) -> None:
    """Print hits: columns on a terminal, else lines with tabs."""
    if not sys.stdout.isatty():
        for hit in hits:
            typer.echo(f"{hit.score:.4f}\t{hit.place}\t{terminal.one_line(hit.text)}")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for hit in hits:
        text = terminal.one_line(hit.text)
        cells = (
            Text(f"{hit.score:.4f}", "bold green"),
            Text(hit.place, "cyan"),
            Text(text[:_CUT] + "…" * (len(text) > _CUT)),
        )
        table.add_row(*cells)
    Console().print(table)
