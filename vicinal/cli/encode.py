"""`vicinal encode`: vectors of texts, into a file."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vicinal.cli import options as o
from vicinal.cli import readers, terminal
from vicinal.cli import rows as r
from vicinal.cli.embedding import embed
from vicinal.cli.outputs import beside, writer_for

if TYPE_CHECKING:
    from vicinal.sentence_transformer import SentenceTransformer


def encode(
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT", help="Text, csv, tsv, jsonl or parquet files; - is stdin.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where to: .npy, .jsonl or .parquet.")],
    model: o.ModelName = None,
    prompt_name: o.PromptName = None,
    prompt: o.Prompt = None,
    role: Annotated[
        o.Role | None,
        typer.Option(
            "--as",
            metavar="query|document",
            show_default=False,
            help="Use the model's prompt and way for queries or for documents.",
        ),
    ] = None,
    normalize: Annotated[bool, typer.Option("--normalize", help="Scale every vector to length 1.")] = False,
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
    """Write the vectors of texts to a file.

    Row i of the output belongs to text i of the inputs: to every line of a text file, blank ones too, and to every
    record of the other formats. The file appears when it is complete.

    \b
    Examples:
      vicinal encode questions.txt -o questions.npy
      vicinal encode posts.csv --column body -o posts.parquet --model all-MiniLM-L6-v2
      zcat corpus.jsonl.gz | vicinal encode - --format jsonl --field text -o corpus.npy
    """
    reading = r.Reading(format, column, field, encoding, no_quotes)
    reading.check(inputs)
    writer = writer_for(output, inputs)
    loaded = o.ModelOptions(model, dtype, backend, threads, truncate_dim).load()
    o.check_prompt(loaded, prompt_name, prompt)
    encode = _way(loaded, role)
    start = time.perf_counter()
    wishes = {
        "prompt_name": prompt_name, "prompt": prompt, "normalize_embeddings": normalize,
        "batch_tokens": batch_tokens, "truncation": truncation.value,
    }  # fmt: skip
    dims = int(encode([], **wishes).shape[1])
    facts = {
        "dims": dims, "model": loaded.name, "fingerprint": loaded.fingerprint, "dtype": loaded.dtype,
        "backend": loaded.backend, "as": role and role.value, "prompt_name": prompt_name, "prompt": prompt,
        "normalized": normalize,
    }  # fmt: skip
    rows = 0
    with beside(output) as file:
        out = writer(file, dims, {f"vicinal.{name}": json.dumps(value) for name, value in facts.items()})
        total = partial(readers.count, inputs, reading)
        for portion, vectors in embed(readers.read(inputs, reading), total, encode, **wishes):
            out.add([row.text for row in portion], vectors)
            rows += len(portion)
        out.finish()
    seconds = round(time.perf_counter() - start, 3)
    if as_json:
        typer.echo(json.dumps({"output": str(output), "rows": rows, **facts, "seconds": seconds}))
    else:
        terminal.say(f"{rows} vectors of {dims} dimensions in {output}, by {loaded.name} in {seconds:.1f} s")


def _way(model: SentenceTransformer, role: o.Role | None) -> Callable[..., Any]:
    """The method that encodes texts of a role.

    Raises:
        BadParameter: the model has a way for each and none for texts of no role.
    """
    if role is not None:
        return model.encode_query if role is o.Role.query else model.encode_document
    routes = model.spec.routes
    if len(routes) > 1 and model.spec.default_route not in routes:
        raise typer.BadParameter(f"{model.name} treats queries and documents differently: say which", param_hint="--as")
    return model.encode
