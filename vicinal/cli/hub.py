"""`vicinal models search`, `show` and `compare`: models on the hub, with their published scores."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vicinal.cli import options as o
from vicinal.cli import terminal
from vicinal.cli.tables import shown, size, table, without_torch

if TYPE_CHECKING:
    from vicinal.hub.details import Details
    from vicinal.hub.listing import Listed

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


class Sort(str, Enum):
    """What comes first."""

    downloads = "downloads"
    likes = "likes"
    modified = "modified"
    score = "score"
    size = "size"


Revision = Annotated[
    str | None,
    typer.Option("--revision", metavar="REVISION", show_default=False, help="Branch, tag or commit on the hub."),
]


def search(
    query: Annotated[str, typer.Argument(metavar="QUERY", help='Words in the name; "" is any.')],
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            metavar="KIND",
            show_default=False,
            help="Take the scores of this kind of task alone: retrieval, sts, classification, clustering, reranking, "
            "pair-classification, bitext-mining, summarization.",
        ),
    ] = None,
    language: Annotated[
        str | None,
        typer.Option("--language", metavar="CODE", show_default=False, help="Only models whose cards name it: de."),
    ] = None,
    max_size: Annotated[
        str | None,
        typer.Option("--max-size", metavar="SIZE", show_default=False, help="Of the weights: 500MB, 2GB."),
    ] = None,
    rerankers: Annotated[
        bool, typer.Option("--rerankers", help="Models that score pairs, instead of those that make vectors.")
    ] = False,
    sort: Annotated[
        Sort,
        typer.Option(
            "--sort",
            metavar="downloads|likes|modified|score|size",
            help="What comes first; by score or size the 200 most downloaded are sorted.",
        ),
    ] = Sort.downloads,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=200, help="Show so many.")] = 20,
    as_json: o.Json = False,
) -> None:
    """Search the hub for sentence-transformers models.

    A score is the mean of what the model's own card reports, followed by the number of tasks in it: scores over
    different tasks do not compare (vicinal models compare takes common ones). Cards are their authors' word.

    \b
    Examples:
      vicinal models search biomedical --sort score
      vicinal models search e5 --task retrieval --language de --max-size 500MB --json
    """
    from vicinal.hub.card import KINDS, kind_of
    from vicinal.hub.listing import search as find

    kind = None if task is None else kind_of(task)
    if task is not None and kind is None:
        raise typer.BadParameter(f"{task!r} is none of {', '.join(KINDS)}", param_hint="--task")
    most = None if max_size is None else _bytes(max_size)
    found = find(query, kind=kind, language=language, max_bytes=most, rerankers=rerankers, sort=sort.value, limit=limit)
    if as_json:
        models = [_listed(model, kind) for model in found.models]
        typer.echo(json.dumps({"looked": found.looked, "without_size": found.without_size, "models": models}))
        return
    if found.models:
        heads = ["model", "score", "size", "licence", "languages", "downloads", "changed", "without torch", ""]
        table(heads, [list(_cells(model, kind)) for model in found.models])
    note = f"{found.looked} models were looked at" + ("" if found.models else ", none of them is as asked")
    unknown = f"; of {found.without_size} the hub does not tell the size" if found.without_size else ""
    terminal.say(f"{note}{unknown}")


def show(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name or id on the hub, or a folder.")],
    revision: Revision = None,
    as_json: o.Json = False,
) -> None:
    """Show what a model is and what its card says: from this machine where it is there, else from the hub.

    Of the weights nothing is fetched.

    \b
    Examples:
      vicinal models show all-MiniLM-L6-v2
      vicinal models show BAAI/bge-m3 --json
    """
    from vicinal.hub import details

    found = details.show(model, revision)
    if as_json:
        typer.echo(json.dumps(asdict(found)))
        return
    for name, value in _lines(found):
        typer.echo(f"{name:<14} {value}".rstrip())
    if found.card.flaw:
        terminal.say(f"{found.name}: {found.card.flaw}")


def compare(
    models: Annotated[list[str], typer.Argument(metavar="MODEL", help="Two or more: names, ids or folders.")],
    as_json: o.Json = False,
) -> None:
    """Put models side by side, with scores only on tasks that all of their cards report.

    \b
    Examples:
      vicinal models compare BAAI/bge-small-en-v1.5 intfloat/e5-small-v2
    """
    from vicinal.hub import details

    if len(models) < 2:
        raise typer.BadParameter("give two models or more", param_hint="MODEL")
    found = details.compare([details.show(model) for model in models])
    if as_json:
        tasks = [
            {"kind": kind, "task": task, "scores": [score.value for score in scores]}
            for (kind, task), scores in found.tasks.items()
        ]
        means = {kind: {"means": values, "tasks": count} for kind, (values, count) in found.means.items()}
        typer.echo(json.dumps({"models": [asdict(model) for model in found.models], "means": means, "tasks": tasks}))
        return
    columns = [dict(_facts(model)) for model in found.models]
    rows = [[name, *(column[name] for column in columns)] for name in columns[0]]
    for kind, (values, count) in found.means.items():
        rows.append([f"{kind}, mean of {count}", *(f"{value:.2f}" for value in values)])
        rows += [
            [f"  {task}", *(f"{score.value:.2f}" for score in scores)]
            for (own, task), scores in found.tasks.items()
            if own == kind
        ]
    table(["", *(model.name for model in found.models)], rows)
    for model in found.models:
        if model.card.flaw:
            terminal.say(f"{model.name}: {model.card.flaw}")
    if not found.tasks:
        terminal.say("there is no task that all of their cards report")


def _bytes(text: str) -> int:
    """What `--max-size` says, in bytes."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]?)B?", text.strip(), re.IGNORECASE)
    if match is None:
        raise typer.BadParameter(f"{text!r} is no size; give one such as 500MB or 2GB", param_hint="--max-size")
    return int(float(match[1]) * _UNITS[match[2].upper()])


def _listed(model: Listed, kind: str | None) -> dict[str, Any]:
    from vicinal.hub.card import mean

    value, count = mean(model.card.scores, kind) or (None, 0)
    facts = asdict(model)
    return {**facts, "score": value, "tasks": count}


def _cells(model: Listed, kind: str | None) -> Iterator[str]:
    from vicinal.hub.card import mean

    score, languages = mean(model.card.scores, kind), model.card.languages
    yield model.name
    yield "" if score is None else f"{score[0]:.2f} ({score[1]})"
    yield "" if model.bytes is None else size(model.bytes)
    yield shown(model.card.licence)
    yield ", ".join(languages) if len(languages) < 4 else f"{len(languages)} languages"
    yield str(model.downloads)
    yield model.modified
    yield without_torch(model.support)
    yield "; ".join((["gated"] if model.gated else []) + ([model.card.flaw] if model.card.flaw else []))


def _facts(model: Details) -> Iterator[tuple[str, str]]:
    """What a model is, in a line each."""
    card = model.card
    yield "dimensions", shown(model.dims)
    yield "max tokens", shown(model.max_tokens)
    yield "size", size(model.bytes)
    yield "without torch", without_torch(model.support)
    yield "licence", shown(card.licence)
    yield "languages", ", ".join(card.languages)
    yield "base model", ", ".join(card.base_models)
    yield "similarity", shown(model.similarity)


def _lines(model: Details) -> Iterator[tuple[str, str]]:
    from vicinal.hub.card import mean

    yield "model", model.name
    yield "found", model.source + (f" at {model.revision}" if model.revision else "")
    yield from _facts(model)
    yield "trained on", ", ".join(model.card.datasets)
    for name, text in model.prompts.items():
        yield "prompt", f"{name}: {text!r}"
    for kind in dict.fromkeys(score.kind for score in model.card.scores):
        value, count = mean(model.card.scores, kind) or (0.0, 0)
        yield "score", f"{kind}: {value:.2f}, mean of {count}"
        for score in model.card.scores:
            if score.kind == kind:
                yield "", f"  {score.task}: {score.value:.2f} ({score.metric})"
