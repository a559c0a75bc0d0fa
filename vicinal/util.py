"""The functions that users know by the name `util`: all of `vicinal.similarity`."""

from __future__ import annotations

from vicinal.similarity import *  # noqa: F403
from vicinal.similarity import __all__ as __all__
