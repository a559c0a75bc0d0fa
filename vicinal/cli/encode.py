"""`vicinal encode`: vectors of texts, into a file, or into a folder that a killed run goes on with."""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from vicinal.cli import options as o
from vicinal.cli import readers, shards, terminal
from vicinal.cli import rows as r
from vicinal.cli.embedding import embed
from vicinal.cli.outputs import is_folder, writer_for
from vicinal.store.files import atomic


def encode(
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT", help="Text, csv, tsv, jsonl or parquet files; - is stdin.")
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help="Where to: .npy, .jsonl or .parquet; or a folder."),
    ],
    model: o.ModelName = None,
    prompt_name: o.PromptName = None,
    prompt: o.Prompt = None,
    role: o.RoleOption = None,
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
    shard_format: Annotated[
        shards.ShardFormat,
        typer.Option("--shards", metavar="npy|parquet", help="Of a folder: vectors alone, or with their texts."),
    ] = shards.ShardFormat.npy,
    as_json: o.Json = False,
) -> None:
    """Write the vectors of texts to a file or a folder.

    Row i of the output belongs to text i of the inputs: to every line of a text file, blank ones too, and to every
    record of the other formats. A file appears when it is complete.

    A folder (an output without a suffix) is for large inputs: it is filled shard by shard. Interrupted or killed, run
    the same command again: it compares the texts with the finished shards, and goes on behind them.

    \b
    Examples:
      vicinal encode questions.txt -o questions.npy
      vicinal encode posts.csv --column body -o posts.parquet --model all-MiniLM-L6-v2
      zcat corpus.jsonl.gz | vicinal encode - --format jsonl --field text -o corpus.npy
      vicinal encode big.parquet --column text -o vectors/
    """
    reading = r.Reading(format, column, field, encoding, no_quotes)
    reading.check(inputs)
    writer = None if is_folder(output) else writer_for(output, inputs)
    loaded = o.ModelOptions(model, dtype, backend, threads, truncate_dim).load()
    o.check_prompt(loaded, prompt_name, prompt)
    encode = o.encoder(loaded, role)
    start = time.perf_counter()
    total = partial(readers.count, inputs, reading)
    wishes: dict[str, Any] = {
        "prompt_name": prompt_name, "prompt": prompt, "normalize_embeddings": normalize,
        "batch_tokens": batch_tokens, "truncation": truncation.value,
    }  # fmt: skip
    facts: dict[str, Any] = {
        "dims": loaded.get_embedding_dimension(), "model": loaded.name, "fingerprint": loaded.fingerprint,
        "dtype": loaded.dtype, "backend": loaded.backend, "as": role and role.value, "prompt_name": prompt_name,
        "prompt": prompt, "normalized": normalize,
    }  # fmt: skip
    if writer is None:
        way = shards.encoding(loaded, role, shard_format, **wishes)
        rows, dims = shards.write(output, readers.read(inputs, reading), total, way, list(inputs)).shape
    else:
        dims = facts["dims"] = int(encode([], **wishes).shape[1])
        rows = 0
        with atomic(output) as file:
            out = writer(file, dims, {f"vicinal.{name}": json.dumps(value) for name, value in facts.items()})
            for portion, vectors in embed(readers.read(inputs, reading), total, encode, **wishes):
                out.add([row.text for row in portion], vectors)
                rows += len(portion)
            out.finish()
    seconds = round(time.perf_counter() - start, 3)
    if not rows:
        terminal.warn(f"there is no text in {', '.join(inputs)}")
    if as_json:
        typer.echo(json.dumps({"output": str(output), "rows": rows, **facts, "seconds": seconds}))
    else:
        terminal.say(f"{rows} vectors of {dims} dimensions in {output}, by {loaded.name} in {seconds:.1f} s")
