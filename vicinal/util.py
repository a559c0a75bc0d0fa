"""The functions that users know by the name `util`: all of `vicinal.similarity`, mining, and small helpers."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from vicinal import refused
from vicinal.helpers import *  # noqa: F403
from vicinal.helpers import __all__ as _helpers
from vicinal.similarity import *  # noqa: F403
from vicinal.similarity import __all__ as _similarity
from vicinal.training.mining import mine_hard_negatives

if TYPE_CHECKING:
    from vicinal.training.resolving import resolve_ids

__all__ = [*_similarity, *_helpers, "mine_hard_negatives", "resolve_ids"]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name == "resolve_ids":
        return importlib.import_module("vicinal.training.resolving").resolve_ids
    return refused.module_name(__name__, name)
