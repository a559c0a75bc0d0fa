"""`vicinal cache`: what an embedding cache holds; emptying it, copying it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vicinal.cli import options as o
from vicinal.cli import terminal
from vicinal.errors import CacheError

if TYPE_CHECKING:
    from vicinal.store.cache import RedisCache, SQLiteCache

_COPIED = 1024  # rows at once

Place = Annotated[str, typer.Argument(metavar="CACHE", help="The path of an SQLite file, or a redis:// URL.")]
Prefix = Annotated[str, typer.Option("--prefix", metavar="TEXT", help="Before every key in Redis.")]

cache = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Look into an embedding cache, empty or copy it.")


@cache.command()
def stats(place: Place, prefix: Prefix = "vicinal:", as_json: o.Json = False) -> None:
    """Tell what a cache holds, and what it was good for.

    An SQLite file counts hits, misses and the seconds that were saved over its whole life; Redis counts none of ours.

    \b
    Examples:
      vicinal cache stats embeddings.db
      vicinal cache stats rediss://cache.example:6380/0 --json
    """
    with closing(_opened(place, prefix)) as found:
        told = found.stats()
    if as_json:
        typer.echo(json.dumps(told))
        return
    for name, value in told.items():
        typer.echo(f"{name.replace('_', ' '):14}{value:,.1f}" if isinstance(value, float) else f"{name:14}{value:,}")


@cache.command()
def clear(place: Place, prefix: Prefix = "vicinal:") -> None:
    """Forget every vector of a cache, and give its space back; what is needed is computed again.

    \b
    Examples:
      vicinal cache clear embeddings.db
    """
    with closing(_opened(place, prefix)) as found:
        rows = found.stats()["rows"]
        found.clear()
    terminal.say(f"{rows} rows forgotten in {place}")


@cache.command()
def export(
    place: Place,
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="PLACE",
            help="Where to: another SQLite file or redis:// URL, whose rows of the same key are replaced; or .jsonl.",
        ),
    ],
    prefix: Prefix = "vicinal:",
) -> None:
    """Copy every vector of a cache into another cache, or into a file.

    A cache holds no texts: a key is a hash of the text, its prompt, and the way in which the vector was computed. A
    line of the file has that key (hex), the vector, how many tokens the text has, and the seconds that it took. Rows
    that are damaged are left out, and counted.

    \b
    Examples:
      vicinal cache export embeddings.db -o backup.db
      vicinal cache export embeddings.db -o redis://cache.example/0
      vicinal cache export embeddings.db -o vectors.jsonl
    """
    if output == place or _same_file(place, output):
        raise typer.BadParameter(f"{output} is the cache itself", param_hint="--output")
    with closing(_opened(place, prefix)) as found:
        rows = _Whole(found.items())
        if output.endswith(".jsonl"):
            _write_lines(Path(output), rows)
        else:
            with closing(_store(output, prefix)) as other:
                while part := list(islice(rows, _COPIED)):
                    other.put_many(part)
    terminal.say(f"{rows.passed} rows of {place} in {output}" + (f"; {rows.damaged} damaged" if rows.damaged else ""))


def _opened(place: str, prefix: str) -> SQLiteCache | RedisCache:
    """A cache that is there.

    Raises:
        CacheError: none is.
    """
    if not _is_url(place) and not os.path.isfile(place):
        raise CacheError(f"there is no cache at {place}")
    return _store(place, prefix)


def _store(place: str, prefix: str) -> SQLiteCache | RedisCache:
    from vicinal.store.cache import RedisCache, SQLiteCache

    return RedisCache(place, prefix=prefix, timeout=10.0) if _is_url(place) else SQLiteCache(place, max_bytes=None)


def _is_url(place: str) -> bool:
    return place.startswith(("redis://", "rediss://"))


def _same_file(place: str, output: str) -> bool:
    return os.path.exists(place) and os.path.exists(output) and os.path.samefile(place, output)


class _Whole(Iterator[tuple[bytes, bytes]]):
    """The rows that are as they were written, counted; the others are counted too.

    Args:
        items: keys with their rows.
    """

    def __init__(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        self._items = iter(items)
        self.passed = self.damaged = 0

    def __next__(self) -> tuple[bytes, bytes]:
        from vicinal.store.cache.rows import is_whole

        for key, row in self._items:
            if is_whole(key, row):
                self.passed += 1
                return key, row
            self.damaged += 1
        raise StopIteration


def _write_lines(path: Path, rows: Iterable[tuple[bytes, bytes]]) -> None:
    from vicinal.store.cache.rows import described
    from vicinal.store.files import atomic

    with atomic(path) as file:
        for key, row in rows:
            told: dict[str, Any] = described(row)
            numbers = ", ".join(f"{number:.9g}" for number in told.pop("vector").tolist())
            line = json.dumps({"key": key.hex(), **told})
            file.write(f'{line[:-1]}, "embedding": [{numbers}]}}\n'.encode())
