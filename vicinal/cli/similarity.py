"""`vicinal similarity`: how near two texts are, or the lines of two files."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Annotated, Any

import typer

from vicinal.cli import options as o
from vicinal.cli import readers, terminal
from vicinal.cli import rows as r
from vicinal.errors import InvalidInput


def similarity(
    first: Annotated[str, typer.Argument(metavar="A", help="A text; with --files, a file.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another.")],
    files: Annotated[
        bool, typer.Option("--files", help="A and B are files: compare line 1 with line 1, line 2 with line 2, ...")
    ] = False,
    model: o.ModelName = None,
    prompt_name: o.PromptName = None,
    prompt: o.Prompt = None,
    role: o.RoleOption = None,
    truncate_dim: o.TruncateDim = None,
    truncation: o.TruncationOption = o.Truncation.warn,
    encoding: r.Encoding = "utf-8",
    dtype: o.DtypeOption = o.Dtype.auto,
    backend: o.BackendOption = o.Backend.auto,
    threads: o.Threads = None,
    batch_tokens: o.BatchTokens = None,
    as_json: o.Json = False,
) -> None:
    """Show how near two texts are in meaning.

    By the model's own similarity function: for most that is the cosine, 1 for the same meaning and near 0 for nothing
    in common.

    \b
    Examples:
      vicinal similarity "a red apple" "a green apple"
      vicinal similarity --files references.txt translations.txt > scores.txt
    """
    reading = r.Reading(r.Format.txt, encoding=encoding)
    if files:
        reading.check([first, second])
    loaded = o.ModelOptions(model, dtype, backend, threads, truncate_dim).load()
    o.check_prompt(loaded, prompt_name, prompt)
    wishes: dict[str, Any] = {
        "prompt_name": prompt_name, "prompt": prompt, "truncation": truncation.value, "batch_tokens": batch_tokens,
    }  # fmt: skip
    encode = partial(o.encoder(loaded, role), **wishes)
    facts = {"model": loaded.name, "similarity": loaded.similarity_fn_name}
    if files:
        scores = _of_files(encode, loaded.similarity_pairwise, first, second, reading)
        if as_json:
            typer.echo(json.dumps({**facts, "scores": [round(score, 6) for score in scores]}))
        else:
            sys.stdout.writelines(f"{score:.4f}\n" for score in scores)
        return
    with terminal.naming(["the first text", "the second text"]):
        vectors = encode([first, second])
    score = float(loaded.similarity_pairwise(vectors[:1], vectors[1:])[0])
    typer.echo(json.dumps({**facts, "score": round(score, 6)}) if as_json else f"{score:.4f}")


def _of_files(
    encode: Callable[..., Any], score: Callable[..., Any], first: str, second: str, reading: r.Reading
) -> Iterator[float]:
    """A score for every line of the first file with the same line of the second.

    Raises:
        InvalidInput: one of them has more lines.
    """
    others = readers.read([second], reading)
    lines = 0
    with terminal.progress(partial(readers.count, [first], reading)) as done:
        for portion in r.portions(readers.read([first], reading)):
            beside = list(islice(others, len(portion)))
            if len(beside) < len(portion):
                raise InvalidInput(f"{second} has only {lines + len(beside)} lines, {first} has more")
            with terminal.naming([row.place for row in [*portion, *beside]]):
                vectors = encode([row.text for row in [*portion, *beside]], show_progress_bar=False)
            yield from score(vectors[: len(portion)], vectors[len(portion) :]).tolist()
            lines += len(portion)
            done(len(portion))
    if next(others, None) is not None:
        raise InvalidInput(f"{first} has only {lines} lines, {second} has more")
