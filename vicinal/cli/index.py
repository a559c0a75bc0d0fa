"""`vicinal index`: documents of files in an index, kept up with them."""

from __future__ import annotations

import json
import time
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vicinal.cli import options as o
from vicinal.cli import terminal
from vicinal.errors import InvalidInput

if TYPE_CHECKING:
    from vicinal.store.index import Index
    from vicinal.store.ingest import Settings

group = typer.Typer(rich_markup_mode=None, no_args_is_help=True, add_completion=False)

IndexPath = Annotated[str, typer.Argument(metavar="INDEX", help="The folder of the index.")]
TextColumn = Annotated[
    str | None,
    typer.Option(
        "--column", metavar="NAME", show_default=False,
        help="Column of csv, tsv and parquet, and field of jsonl objects, with the texts; text without it.",
    ),
]  # fmt: skip
IdColumn = Annotated[
    str | None,
    typer.Option(
        "--id-column", metavar="NAME", show_default=False,
        help="Column or field that names a row; without it, a row is known by its number.",
    ),
]  # fmt: skip


class Search(str, Enum):
    """How an index is searched."""

    auto = "auto"
    exact = "exact"
    int8 = "int8"
    binary = "binary"
    hnsw = "hnsw"
    ivf = "ivf"


@group.callback()
def index() -> None:
    """Keep an index of documents: made from files, brought up to date, checked, mended.

    An index is a folder. What a command has committed is there whatever happens to it: after Ctrl-C or a kill, run it
    again and it goes on.

    \b
    Examples:
      vicinal index build docs/ -o docs.vicinal --model all-MiniLM-L6-v2
      vicinal index update docs.vicinal
      vicinal search "how do I return an item?" --index docs.vicinal
    """


@group.command()
def build(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            help="Files, or folders with all files below: txt, md, rst, html, pdf, csv, tsv, jsonl, parquet.",
        ),
    ],
    output: Annotated[str, typer.Option("--output", "-o", metavar="INDEX", help="The folder of the index.")],
    model: o.ModelName = None,
    column: TextColumn = None,
    id_column: IdColumn = None,
    chunk_tokens: Annotated[
        int | None,
        typer.Option(
            "--chunk-tokens", metavar="N", min=1, show_default=False,
            help="Tokens of a chunk at most; without it, the model's limit or 512.",
        ),
    ] = None,
    chunk_overlap: Annotated[
        int, typer.Option("--chunk-overlap", metavar="N", min=0, help="Tokens that neighbouring chunks share.")
    ] = 0,
    search: Annotated[
        Search,
        typer.Option(
            "--search", metavar="auto|exact|int8|binary|hnsw|ivf",
            help="How it is searched; auto is exact up to 100,000 vectors, hnsw beyond; int8 finds what exact does.",
        ),
    ] = Search.auto,
    dtype: o.DtypeOption = o.Dtype.auto,
    backend: o.BackendOption = o.Backend.auto,
    threads: o.Threads = None,
    batch_tokens: o.BatchTokens = None,
) -> None:  # fmt: skip
    """Make an index of files, or go on where an earlier run of this command was stopped.

    A text, Markdown or HTML file is a document, and so is a page of a PDF and a row of a table; long ones are divided
    into chunks. What cannot be read is named at the end, and the exit code is 1 then. To add files to an index, name
    all of them: those that it was built from, and the new ones.

    \b
    Examples:
      vicinal index build docs/ -o docs.vicinal --model all-MiniLM-L6-v2
      vicinal index build posts.parquet -o posts.vicinal --column body --id-column post_id
    """
    from vicinal.store.index import Index
    from vicinal.store.index.schema import FILE
    from vicinal.store.ingest import Settings
    from vicinal.store.ingest.run import check, left_out

    check(inputs)
    loaded = o.ModelOptions(model, dtype, backend, threads).load()
    if (Path(output) / FILE).exists():
        opened = Index.open(output, loaded)
        asked = {"search": search.value if search is not Search.auto else None, "chunk_tokens": chunk_tokens,
                 "chunk_overlap": chunk_overlap or None}  # fmt: skip
        has = opened.info()
        if other := [name for name, value in asked.items() if value is not None and value != has[name]]:
            opened.close()
            told = ", ".join(f"--{name.replace('_', '-')} {has[name]}" for name in other)
            raise InvalidInput(f"{output} was begun with {told}: leave that as it is, or take another --output")
    else:
        options: dict[str, Any] = {"chunk_tokens": chunk_tokens, "chunk_overlap": chunk_overlap}
        opened = Index.create(output, loaded, search=search.value, **options)
    with opened:
        if missing := left_out(opened, inputs):
            raise InvalidInput(
                f"{output} was built from {', '.join(missing)} too, and the documents of what is not named would be "
                "removed: name all inputs, or take another --output"
            )
        _ingest(opened, inputs, Settings(column or "text", id_column), batch_tokens)


@group.command()
def update(path: IndexPath, batch_tokens: o.BatchTokens = None) -> None:
    """Bring an index up to date with the files that it was built from.

    Files that did not change are not read, and texts that did not change are not embedded again; the documents of files
    that are gone are removed.

    \b
    Examples:
      vicinal index update docs.vicinal
    """
    from vicinal.store.index import Index

    with Index.open(path) as opened:
        _ingest(opened, None, None, batch_tokens)


def _ingest(opened: Index, inputs: list[str] | None, settings: Settings | None, batch_tokens: int | None) -> None:
    from vicinal.store.ingest import ingest
    from vicinal.store.ingest.run import count

    begin = time.perf_counter()
    with terminal.progress(lambda: count(opened, inputs), "files") as done:
        report = ingest(opened, inputs, settings, progress=done, batch_tokens=batch_tokens)
    if report.changed or report.removed:
        opened.optimize()
    spent = time.perf_counter() - begin
    for failure in report.failed:
        terminal.fail(failure)
    rate = f", {report.changed / spent:.0f} a second" if report.changed else ""
    terminal.say(
        f"{opened.path}: {len(opened)} documents; {report.files} files, {report.unchanged} of them unchanged; "
        f"{report.changed} documents new or changed, {report.removed} removed, in {spent:.1f} s{rate}"
    )
    if not len(opened):
        missing = "there is no text" if report.files else "no file that can be read is"
        terminal.warn(f"{opened.path} is empty: {missing} in what was given")
    if report.failed:
        terminal.say(f"{len(report.failed)} files could not be read")
        raise typer.Exit(1)


@group.command()
def info(path: IndexPath, as_json: o.Json = False) -> None:
    """Say what an index holds, and which model made it.

    \b
    Examples:
      vicinal index info docs.vicinal
    """
    from vicinal.store.index import Index

    with Index.open(path) as opened:
        facts = opened.info()
    if as_json:
        typer.echo(json.dumps(facts))
        return
    for name, value in facts.items():
        typer.echo(f"{name.replace('_', ' ')}: {'' if value is None else value}")


@group.command()
def verify(path: IndexPath) -> None:
    """Read all of an index, and compare it with its checksums: what is wrong is told, and the exit code is 1 then.

    \b
    Examples:
      vicinal index verify docs.vicinal
    """
    from vicinal.store.index import Index

    with Index.open(path) as opened:
        faults = opened.verify()
        total = len(opened) if not faults else 0
    if not faults:
        terminal.say(f"{path}: all of its {total} documents are as they were written")
        return
    for fault in faults:
        typer.echo(fault)
    terminal.fail(f"{path} is damaged: vicinal index rebuild {path} mends what can be")
    raise typer.Exit(1)


@group.command()
def rebuild(
    path: IndexPath,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", metavar="NAME", show_default=False,
            help="Embed everything by this model; without it, only what is damaged is mended.",
        ),
    ] = None,
    batch_tokens: o.BatchTokens = None,
) -> None:  # fmt: skip
    """Mend an index that is damaged, or embed all of it by another model.

    Vectors that are damaged are computed again; documents whose text is lost are removed, and named. It is one
    transaction: a run that is stopped leaves the index as it was.

    \b
    Examples:
      vicinal index rebuild docs.vicinal
      vicinal index rebuild docs.vicinal --model BAAI/bge-small-en-v1.5
    """
    from vicinal.store.index import Index

    with Index.open(path) as opened:
        for fault in opened.rebuild(model, batch_tokens=batch_tokens):
            typer.echo(fault)
        terminal.say(f"{path}: {len(opened)} documents")


@group.command()
def compact(path: IndexPath) -> None:
    """Give back the room of what was deleted.

    \b
    Examples:
      vicinal index compact docs.vicinal
    """
    from vicinal.store.index import Index

    with Index.open(path) as opened:
        opened.compact()


@group.command()
def export(
    path: IndexPath,
    output: Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="Where to: .jsonl or .parquet.")],
) -> None:
    """Write all documents to a file: jsonl has texts and metadata, parquet a row a chunk, with its vector.

    \b
    Examples:
      vicinal index export docs.vicinal -o docs.jsonl
    """
    from vicinal.store.index import Index

    if not output.endswith((".jsonl", ".parquet")):
        raise typer.BadParameter(f"{output} ends neither in .jsonl nor in .parquet", param_hint="--output")
    with Index.open(path) as opened:
        terminal.say(f"{opened.export(output)} documents")


@group.command()
def backup(
    path: IndexPath,
    output: Annotated[str, typer.Option("--output", "-o", metavar="FOLDER", help="The new folder.")],
) -> None:
    """Copy an index as it is now, also while it is used.

    \b
    Examples:
      vicinal index backup docs.vicinal -o backup.vicinal
    """
    from vicinal.store.index import Index

    with Index.open(path) as opened:
        opened.backup(output)
