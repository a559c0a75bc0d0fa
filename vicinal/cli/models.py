"""`vicinal models`: which models there are: well-known ones, those on this machine, those on the hub."""

from __future__ import annotations

import json
import time
from typing import Annotated

import typer

from vicinal.cli import options as o
from vicinal.cli import terminal
from vicinal.cli.hub import compare, search, show
from vicinal.cli.tables import shown, size, table, without_torch

app = typer.Typer(
    rich_markup_mode=None, add_completion=False, no_args_is_help=True,
    help="Find, compare, fetch and remove models.",
)  # fmt: skip

CacheFolder = Annotated[
    str | None,
    typer.Option(
        "--cache-folder", metavar="FOLDER", show_default=False, help="The hub cache; without it, the usual one."
    ),
]


@app.command()
def known(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="WORD", show_default=False, help="Show only models with these words in their line."),
    ] = None,
    as_json: o.Json = False,
) -> None:
    """Show well-known models, without a network.

    Size is that of the weights as published, speed a class of work for each token: instant, fast, medium, slow, very
    slow. What no source backs is left out.

    \b
    Examples:
      vicinal models known
      vicinal models known multilingual search
      vicinal models known reranker --json
    """
    from dataclasses import asdict

    from vicinal.hub.known import known_models

    rows, facts = [], []
    for model in known_models():
        support = model.support
        row = [
            model.name, model.kind, shown(model.dims), shown(model.max_tokens),
            "" if model.megabytes is None else size(model.megabytes * 10**6), model.speed, shown(model.licence),
            shown(model.languages), without_torch(support), model.best_for,
        ]  # fmt: skip
        if all(word.lower() in " ".join(row).lower() for word in words or ()):
            rows.append(row)
            facts.append({**asdict(model), "speed": model.speed, "without_torch": support.runs, "how": support.how})
    if as_json:
        typer.echo(json.dumps(facts))
        return
    heads = ["model", "kind", "dims", "tokens", "size", "speed", "licence", "languages", "without torch", "best for"]
    table(heads, rows)


@app.command("list")
def listed(cache_folder: CacheFolder = None, as_json: o.Json = False) -> None:
    """Show the models on this machine: in the hub cache, in packages, and the one that comes with vicinal.

    \b
    Examples:
      vicinal models list
      vicinal models list --json
    """
    from vicinal.hub.local import local_models

    models = local_models(cache_folder)
    if as_json:
        facts = [
            {
                "model": model.name, "source": model.source, "folder": str(model.folder), "bytes": model.bytes,
                "last_used": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(model.last_used)),
                "revisions": model.revisions, "missing": list(model.missing),
                "without_torch": model.support.runs, "how": model.support.how,
            }
            for model in models
        ]  # fmt: skip
        typer.echo(json.dumps(facts))
        return
    rows = [
        [model.name, model.source, size(model.bytes), time.strftime("%Y-%m-%d", time.gmtime(model.last_used)),
         without_torch(model.support), f"missing: {'; '.join(model.missing)}" if model.missing else ""]
        for model in models
    ]  # fmt: skip
    table(["model", "where", "size", "last used", "without torch", ""], rows)


@app.command()
def download(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name or id on the hub.")],
    revision: Annotated[
        str | None,
        typer.Option("--revision", metavar="REVISION", show_default=False, help="Branch, tag or commit on the hub."),
    ] = None,
    cache_folder: CacheFolder = None,
    as_json: o.Json = False,
) -> None:
    """Fetch a model into the hub cache, unless it is there or in a package, and print its folder.

    A model that nothing here runs is refused before its weights are fetched. HF_TOKEN opens private and gated ones.

    \b
    Examples:
      vicinal models download BAAI/bge-small-en-v1.5
    """
    from vicinal.loading.locate import locate
    from vicinal.loading.support import refuse

    found = locate(model, revision=revision, cache_folder=cache_folder, accept=refuse)
    if as_json:
        facts = {"model": found.name, "folder": str(found.folder), "revision": found.revision, "source": found.source}
        typer.echo(json.dumps(facts))
        return
    if found.source != "network":
        terminal.say(f"nothing was fetched: it is there already ({found.source})")
    typer.echo(found.folder)


@app.command()
def remove(
    models: Annotated[list[str], typer.Argument(metavar="MODEL", help="As vicinal models list shows it.")],
    cache_folder: CacheFolder = None,
) -> None:
    """Delete models from the hub cache, each with all of its revisions.

    \b
    Examples:
      vicinal models remove BAAI/bge-small-en-v1.5
    """
    from vicinal.hub import local

    for model in models:
        terminal.say(f"{model}: {size(local.remove(model, cache_folder))} are free")


for command in (search, show, compare):
    app.command()(command)
