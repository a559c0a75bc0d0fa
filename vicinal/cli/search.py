"""`vicinal search`: the lines of some files that are nearest in meaning to a question."""

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


class Hit(NamedTuple):
    """A row that was found."""

    score: float
    row: r.Row


def search(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What is looked for.")],
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="FILE", help="Files; folders, for the .txt, .md and .rst files below; - is stdin."),
    ],
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
    """Find the lines that are nearest in meaning to a query.

    Blank lines are passed over. Each result is a score, file:line and the text, separated by tabs where the output is
    not a terminal. Nothing is kept: files are read and encoded anew each time.

    \b
    Examples:
      vicinal search "how long do I have to return an item?" examples/shop-faq.txt
      vicinal search "what did we decide about prices?" notes/ --top-k 20 --json
      git log --format=%s | vicinal search "fix a crash" -
    """
    if not query.strip():
        raise typer.BadParameter("the query is empty", param_hint="QUERY")
    reading = r.Reading(format, column, field, encoding, no_quotes)
    names = r.files(inputs)
    reading.check(names)
    loaded = o.ModelOptions(model, dtype, backend, threads, truncate_dim).load()
    asked = Question(query, query_prompt, document_prompt, top_k, truncation, batch_tokens)
    hits = [hit for hit in asked.hits(loaded, names, reading) if min_score is None or hit.score >= min_score]
    if as_json:
        found = [{"score": round(h.score, 6), "file": h.row.file, "line": h.row.line, "text": h.row.text} for h in hits]
        facts = {"query": query, "model": loaded.name, "similarity": loaded.similarity_fn_name}
        typer.echo(json.dumps({**facts, "hits": found}))
    elif not hits:
        terminal.say(f"nothing scores {min_score} or more")
    else:
        _show(hits)


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


def _show(hits: list[Hit]) -> None:
    """Print hits: columns on a terminal, else lines with tabs."""
    if not sys.stdout.isatty():
        for hit in hits:
            typer.echo(f"{hit.score:.4f}\t{hit.row.place}\t{terminal.one_line(hit.row.text)}")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for hit in hits:
        text = terminal.one_line(hit.row.text)
        cells = (
            Text(f"{hit.score:.4f}", "bold green"),
            Text(hit.row.place, "cyan"),
            Text(text[:_CUT] + "…" * (len(text) > _CUT)),
        )
        table.add_row(*cells)
    Console().print(table)
