"""Well-known models, as `known.json` has them: an answer without a network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from vicinal.loading.support import Support, of_config

DATA = Path(__file__).with_name("known.json")

# By the parameters that a token passes through: twice as many operations, for every token.
_SPEEDS = ((0, "instant"), (25e6, "fast"), (150e6, "medium"), (700e6, "slow"))


@dataclass(frozen=True)
class Known:
    """A well-known model; a figure that no source backs is None.

    Attributes:
        name: its id on the hub.
        kind: "encoder", "static" (a table of token vectors, no network) or "reranker" (scores pairs).
        architecture: the `model_type` of its configuration; of a static model the layout.
        best_for: what it is chosen for.
        sources: of the figures, explained in `known.json`.
        dims: of its vectors.
        max_tokens: of a text; what comes after them is cut off. A static model has no limit.
        parameters: all of them.
        table_parameters: those of the table of tokens, of which a text reads a few rows.
        megabytes: of its weights as published, in 10**6 bytes.
        licence: its SPDX-like name on the hub.
        languages: "English", "50 languages", ...
        similarity: what its vectors are compared by.
        prompts: what stands before its texts, by name.
    """

    name: str
    kind: str
    architecture: str
    best_for: str
    sources: tuple[str, ...]
    dims: int | None = None
    max_tokens: int | None = None
    parameters: int | None = None
    table_parameters: int | None = None
    megabytes: int | None = None
    licence: str | None = None
    languages: str | None = None
    similarity: str | None = None
    prompts: Mapping[str, str] = field(default_factory=dict)

    @property
    def speed(self) -> str:
        """instant, fast, medium, slow or "very slow": classes of work for each token, so of one machine's speed."""
        if self.parameters is None or self.table_parameters is None:
            return "unknown"
        work = self.parameters - self.table_parameters
        return next((name for most, name in _SPEEDS if work <= most), "very slow")

    @property
    def support(self) -> Support:
        """Whether it runs here without torch."""
        if self.kind == "static":
            return Support(True, "table")
        return of_config({"model_type": self.architecture}, head=self.kind == "reranker")


@cache
def known_models() -> tuple[Known, ...]:
    """Every model of the table."""
    data = json.loads(DATA.read_text("utf-8"))
    return tuple(Known(**{**model, "sources": tuple(model["sources"])}) for model in data["models"])


def find_known(name: str) -> Known | None:
    """The model of that id; of a bare name, the one that ends in it.

    >>> find_known("all-MiniLM-L6-v2").dims
    384
    """
    lowered = name.lower()
    return next(
        (model for model in known_models() if lowered in (model.name.lower(), model.name.lower().rpartition("/")[2])),
        None,
    )
