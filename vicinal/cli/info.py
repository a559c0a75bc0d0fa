"""`vicinal info`: what a model is, and where it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vicinal.cli import options as o

if TYPE_CHECKING:
    from vicinal.sentence_transformer import SentenceTransformer


def info(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            show_default=False,
            help="Name or id on the hub, or a folder; without it, the model that comes with vicinal.",
        ),
    ] = None,
    dtype: o.DtypeOption = o.Dtype.auto,
    backend: o.BackendOption = o.Backend.auto,
    threads: o.Threads = None,
    as_json: o.Json = False,
) -> None:
    """Show what a model is, where it is and what runs it.

    \b
    Examples:
      vicinal info
      vicinal info all-MiniLM-L6-v2 --json
    """
    facts = _facts(o.ModelOptions(model, dtype, backend, threads).load())
    if as_json:
        typer.echo(json.dumps(facts))
        return
    for name, value in _lines(facts):
        typer.echo(f"{name:<12} {value}".rstrip())


def _facts(model: SentenceTransformer) -> dict[str, Any]:
    from vicinal.loading.layout import on_disk, plan

    spec, located = model.spec, model._located
    files = plan(on_disk(located.folder))
    return {
        "model": model.name,
        "source": located.source,
        "folder": str(located.folder),
        "revision": located.revision,
        "bytes": sum((located.folder / name).stat().st_size for name in (*files.small, *files.weights)),
        "routes": [
            {
                "task": task or None,
                "modules": [_module(module) for module in route.modules],
                "dims": route.width,
                "max_tokens": route.max_length,
            }
            for task, route in spec.routes.items()
        ],
        "dims": model.get_embedding_dimension(),
        "similarity": model.similarity_fn_name,
        "prompts": model.prompts,
        "default_prompt": model.default_prompt_name,
        "backend": model.backend,
        "dtype": model.dtype,
        "threads": model._engine.choice.threads,
        "fingerprint": model.fingerprint,
    }


def _module(module: Any) -> dict[str, Any]:
    """A module's type and settings, without what it does not show of itself."""
    settings = {field.name: getattr(module, field.name) for field in fields(module) if field.repr}
    return {"type": type(module).__name__, **settings}


def _lines(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The same facts for people: name and value of every line."""
    yield "model", facts["model"]
    yield "found", f"{facts['source']}: {facts['folder']}" + (f" at {facts['revision']}" if facts["revision"] else "")
    yield "size", f"{facts['bytes'] / 1e6:.1f} MB"
    for route in facts["routes"]:
        if route["task"]:
            yield "for", route["task"]
        for number, module in enumerate(route["modules"]):
            settings = ", ".join(f"{name}={value!r}" for name, value in module.items() if name != "type")
            yield "" if number else "modules", f"{module['type']}({settings})"
        yield "max tokens", "no limit" if route["max_tokens"] is None else str(route["max_tokens"])
    yield "dimensions", str(facts["dims"])
    yield "similarity", facts["similarity"]
    for name, text in facts["prompts"].items():
        yield "prompt", f"{name}: {text!r}" + (" (default)" if name == facts["default_prompt"] else "")
    yield "runs on", f"{facts['backend']}, {facts['dtype']}, {facts['threads']} thread{'s' * (facts['threads'] > 1)}"
    yield "fingerprint", facts["fingerprint"]
