"""Prompts that well-known families were trained with, and that their files do not state.

Sources: the models' cards on the hub (intfloat/e5-base-v2, intfloat/multilingual-e5-base, BAAI/bge-base-en-v1.5,
BAAI/bge-base-zh-v1.5, Snowflake/snowflake-arctic-embed-m, mixedbread-ai/mxbai-embed-large-v1,
nomic-ai/nomic-embed-text-v1.5, nomic-ai/modernbert-embed-base, intfloat/e5-mistral-7b-instruct,
Alibaba-NLP/gte-Qwen2-7B-instruct). The last two take a description of the task in front of every query; the one here is
that of web search, which both cards give.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_REPRESENT = "Represent this sentence for searching relevant passages: "
_WEB_SEARCH = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery: "
_NOMIC = {"query": "search_query: ", "document": "search_document: "}
_FAMILIES: tuple[tuple[str, Mapping[str, str]], ...] = (
    (r"(multilingual-)?e5-(small|base|large)(-v2)?(-unsupervised)?", {"query": "query: ", "document": "passage: "}),
    (r"bge-(small|base|large)-en(-v1\.5)?", {"query": _REPRESENT}),
    (r"bge-(small|base|large)-zh(-v1\.5)?", {"query": "为这个句子生成表示以用于检索相关文章："}),
    (r"snowflake-arctic-embed-(xs|s|m|l|m-long|m-v1\.5)", {"query": _REPRESENT}),
    (r"mxbai-embed-large-v1", {"query": _REPRESENT}),
    (r"nomic-embed-text-v1(\.5|-unsupervised)?", _NOMIC),
    (r"modernbert-embed-(base|large)", _NOMIC),
    (r"e5-mistral-7b-instruct", {"query": _WEB_SEARCH}),
    (r"gte-qwen2-(1\.5b|7b)-instruct", {"query": _WEB_SEARCH}),
)


def family_prompts(name: str) -> Mapping[str, str]:
    """Prompts of the family that a model's name tells, {} for others.

    >>> family_prompts("intfloat/e5-small-v2")["query"]
    'query: '
    >>> family_prompts("sentence-transformers/all-MiniLM-L6-v2")
    {}
    """
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2].lower()
    return next((prompts for pattern, prompts in _FAMILIES if re.fullmatch(pattern, last)), {})
