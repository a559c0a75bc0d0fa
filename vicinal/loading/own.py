"""Modules that are none of this project's: a folder names them, and that alone runs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vicinal.errors import UnsafeModel, UnsupportedModel
from vicinal.loading.spec import Custom

DEFINED: dict[str, type] = {}
"""Subclasses of `vicinal.models.Module` that the running program has defined, by their full names: to name one is to
ask for nothing new. Filled as they are defined."""
_OURS = ("sentence_transformers", "vicinal")


def ours(kind: str) -> bool:
    """Whether a module's class is one of sentence-transformers' or this project's."""
    return kind.partition(".")[0] in _OURS


def class_name(kind: str, path: object) -> str:
    """The module's class, in whichever version's spelling.

    >>> class_name("sentence_transformers.models.Pooling.Pooling", "modules.json")
    'Pooling'

    Raises:
        UnsafeModel: it is code of the model's own.
    """
    if ours(kind):
        return kind.rpartition(".")[2]
    raise UnsafeModel(
        f"{path} asks for the module {kind!r}, which is code of the model's own: loading a model runs none. Import the "
        "file that defines it first (a subclass of vicinal.models.Module is then known), or say "
        "trust_remote_code=True, which imports what the folder names. Both need torch (pip install 'vicinal[torch]')."
    )


def own_module(kind: str, path: object, options: Sequence[str], trusted: bool, torch: bool) -> Custom:
    """A module of the user's or of the model's own, which torch runs.

    Args:
        kind: its full name.
        path: of the file that says so.
        options: names of keyword arguments that it takes beside the features.
        trusted: whether what the folder names may be imported.
        torch: whether torch may run it.

    Raises:
        UnsafeModel: it is neither defined yet nor trusted. UnsupportedModel: torch is not to run.
    """
    if kind not in DEFINED and not trusted:
        class_name(kind, path)
    if not torch:
        raise UnsupportedModel(f'{path} lists {kind}, which has no network but torch\'s: backend="torch" runs it')
    return Custom(kind, reason=f"{kind} is a module of its own", options=tuple(sorted(options)))


def options_of(entry: Any) -> tuple[str, ...]:
    """The names that an entry of modules.json lists as `kwargs`."""
    listed = entry.get("kwargs") or ()
    return tuple(map(str, listed))
