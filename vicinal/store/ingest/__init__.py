"""Documents from files into an index, and what changed since."""

from __future__ import annotations

from vicinal.store.ingest.readers import Settings
from vicinal.store.ingest.run import Report, ingest

__all__ = ["Report", "Settings", "ingest"]
