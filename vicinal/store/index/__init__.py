"""A semantic index of documents: SQLite holds the truth, files derived from it make searches fast."""

from __future__ import annotations

from vicinal.store.index.documents import Document
from vicinal.store.index.index import Index

__all__ = ["Document", "Index"]
