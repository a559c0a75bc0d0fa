"""Models on the hub: which there are, with their published scores, and whether they run here without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from vicinal.hub.asking import pages
from vicinal.hub.card import Card, mean, read_card
from vicinal.loading.hub import Wanted
from vicinal.loading.support import Support, of_listing

LOOKED = 200
"""Models of the listing that are looked at, the most downloaded, liked or lately changed first."""

SORTS = {
    "downloads": "downloads",
    "likes": "likes",
    "modified": "lastModified",
    "score": "downloads",
    "size": "downloads",
}
_TOLD = (
    "cardData", "config", "downloads", "gated", "lastModified", "likes", "model-index", "pipeline_tag", "safetensors",
    "siblings", "tags",
)  # fmt: skip
_WIDTHS = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2,
           "I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1}  # fmt: skip


@dataclass(frozen=True)
class Listed:
    """A model as the hub lists it.

    Attributes:
        bytes: of its safetensors, None where the hub does not tell.
        parameters: of them.
        gated: its owner must be asked first.
        support: whether it runs here without torch, as far as the listing tells.
    """

    name: str
    downloads: int
    likes: int
    modified: str
    gated: bool
    bytes: int | None
    parameters: int | None
    card: Card
    support: Support


@dataclass(frozen=True)
class Found:
    """The answer to a search.

    Attributes:
        models: the best first.
        looked: how many of the listing were looked at.
        without_size: of those, how many a limit on the size left out because the hub does not tell their size.
    """

    models: tuple[Listed, ...]
    looked: int
    without_size: int


def search(
    query: str,
    *,
    kind: str | None = None,
    language: str | None = None,
    max_bytes: int | None = None,
    rerankers: bool = False,
    sort: str = "downloads",
    limit: int = 20,
    token: str | bool | None = None,
) -> Found:
    """Ask the hub for sentence-transformers models.

    Args:
        query: words in the name; "" is any.
        kind: of the tasks whose mean score counts, one of `card.KINDS`; None is all.
        language: as cards spell it: "de".
        max_bytes: of the weights; a model whose size the hub does not tell is left out.
        rerankers: models that score pairs, instead of those that make vectors.
        sort: one of `SORTS`; by score or size, the `LOOKED` most downloaded are sorted, those without one last.
        limit: so many at most.
        token: of the hub; None is the saved one, where there is one.

    Raises:
        HubError: the hub cannot be asked.
    """
    params: dict[str, Any] = {"filter": ["sentence-transformers", *([language] if language else [])]}
    params |= {"search": query} if query else {}
    params |= {"pipeline_tag": "text-ranking"} if rerankers else {}
    params |= {"sort": SORTS[sort], "limit": min(LOOKED, 100), "expand": list(_TOLD)}
    found: list[Listed] = []
    looked = without_size = 0
    for entry in islice(pages(Wanted("its list of models", token=token), "/api/models", params), LOOKED):
        looked += 1
        if not rerankers and entry.get("pipeline_tag") == "text-ranking":
            continue
        model = _listed(entry)
        if max_bytes is not None and model.bytes is None:
            without_size += 1
        elif max_bytes is None or (model.bytes or 0) <= max_bytes:
            found.append(model)
        if len(found) == limit and sort not in ("score", "size"):
            break
    if sort == "score":
        found.sort(key=lambda model: -(mean(model.card.scores, kind) or (float("-inf"), 0))[0])
    elif sort == "size":
        found.sort(key=lambda model: float("inf") if model.bytes is None else model.bytes)
    return Found(tuple(found[:limit]), looked, without_size)


def _listed(entry: Mapping[str, Any]) -> Listed:
    tags = [tag for tag in _list(entry.get("tags")) if isinstance(tag, str)]
    files = [file.get("rfilename") for file in _list(entry.get("siblings")) if isinstance(file, dict)]
    names = [name for name in files if isinstance(name, str)] or None
    config, safetensors = _dict(entry.get("config")), _dict(entry.get("safetensors"))
    by_type = _dict(safetensors.get("parameters"))
    known = bool(by_type) and all(kind in _WIDTHS and type(count) is int for kind, count in by_type.items())
    return Listed(
        str(entry["id"]),
        _count(entry.get("downloads")),
        _count(entry.get("likes")),
        str(entry.get("lastModified") or "")[:10],
        bool(entry.get("gated")),
        sum(_WIDTHS[kind] * count for kind, count in by_type.items()) if known else None,
        safetensors["total"] if type(safetensors.get("total")) is int else None,
        read_card(entry.get("cardData"), entry.get("model-index")),
        of_listing(config, names, tags, head=entry.get("pipeline_tag") == "text-ranking"),
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: Any) -> int:
    return value if type(value) is int else 0
