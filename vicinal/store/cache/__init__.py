"""The embedding cache: a text that was encoded before, by the same model in the same way, is looked up."""

from __future__ import annotations

from vicinal.store.cache.embedding_cache import CacheStats, EmbeddingCache
from vicinal.store.cache.redis import RedisCache
from vicinal.store.cache.sqlite import SQLiteCache
from vicinal.store.cache.stores import Store

__all__ = ["CacheStats", "EmbeddingCache", "RedisCache", "SQLiteCache", "Store"]
