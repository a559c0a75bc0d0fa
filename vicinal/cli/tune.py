"""`vicinal tune`: which backend, dtype and batch budget suit this machine and these texts."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from vicinal.cli import options as o
from vicinal.cli import readers, terminal
from vicinal.cli import rows as r
from vicinal.errors import InvalidInput

WAYS = (
    ("openvino", "float32"),
    ("openvino", "bfloat16"),
    ("openvino", "int8"),
    ("onnx", "float32"),
    ("onnx", "int8"),
)


def tune(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name or id on the hub, or a folder.")],
    texts: Annotated[
        list[str], typer.Option("--texts", metavar="FILE", help="Your own texts: files, folders, or - for stdin.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", show_default=False, help="Keep the choice in this file."),
    ] = None,
    count: Annotated[int, typer.Option("--count", metavar="N", min=2, help="Measure with so many texts.")] = 500,
    rounds: Annotated[int, typer.Option("--rounds", metavar="N", min=1, help="Measure so often, in turn.")] = 3,
    recall: Annotated[
        float, typer.Option("--recall", metavar="R", min=0.0, max=1.0, help="Keep at least this recall@10.")
    ] = 0.97,
    threads: o.Threads = None,
    format: r.FormatOption = None,
    column: r.Column = None,
    field: r.Field = "text",
    encoding: r.Encoding = "utf-8",
    no_quotes: r.NoQuotes = False,
    as_json: o.Json = False,
) -> None:
    """Measure ways to run a model, and choose the fastest that is faithful.

    Each way runs in a process of its own, all taking turns. Cosine and recall@10 are to the vectors at float32.
    SentenceTransformer(MODEL, profile="FILE") then loads the choice.

    \b
    Examples:
      vicinal tune all-MiniLM-L6-v2 --texts examples/shop-faq.txt -o profile.json
    """
    from vicinal import tuning
    from vicinal.profiles import write_profile

    reading = r.Reading(format, column, field, encoding, no_quotes)
    names = r.files(texts)
    reading.check(names)
    sample = list(dict.fromkeys(row.text for row in islice(readers.read(names, reading), count) if row.text.strip()))
    if len(sample) < 2:
        raise InvalidInput("there are fewer than two different texts to measure with")
    can, cannot = tuning.available(model, WAYS)
    for (backend, dtype), why in cannot.items():
        terminal.say(f"{backend} at {dtype} is left out: {why}")
    measured = tuning.tune(model, sample, can, rounds=rounds, threads=threads, said=terminal.say)
    chosen = tuning.best(measured, recall)
    if output is not None:
        write_profile(output, chosen.candidate, {"model": model, "texts": len(sample), **asdict(chosen)})
    if as_json:
        rows = [asdict(one) for one in measured]
        typer.echo(json.dumps({"texts": len(sample), "measured": rows, "chosen": asdict(chosen.candidate)}))
        return
    typer.echo("backend    dtype     budget  texts/s  one text  memory   cosine mean / least   recall@10")
    for one in measured:
        way = one.candidate
        typer.echo(
            f"{way.backend:<10} {way.dtype:<9} {way.batch_tokens:>6} {one.texts_per_second:>8.0f} "
            f"{one.latency_ms:>6.1f} ms {one.peak_mb:>5.0f} MB   {one.cosine_mean:.6f} / {one.cosine_least:.6f}"
            f"   {one.recall_at_10:>8.3f}{'   <- chosen' if one is chosen else ''}"
        )
    if output is not None:
        terminal.say(f"wrote {output}")
