"""Network architectures, one file each, as plain functions over `backends.base.Ops`.

A file here that describes an architecture holds MODEL_TYPES (the `model_type`s it serves), `parse(config)`, which
reads or refuses a `config.json`, and the network itself, `tokens(ops, w, config, x)`: token states (B, T, width).
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from typing import Any, Protocol, cast

from vicinal.backends.base import Handle, Ops
from vicinal.loading.spec import Classifier, NetworkConfig
from vicinal.loading.weights import Scope


class Network(Protocol):
    """The contract of an architecture's file."""

    MODEL_TYPES: tuple[str, ...]
    ANCHOR: str
    """A tensor that every checkpoint has: what stands before it is the checkpoint's prefix."""
    LEFTOVERS: tuple[str, ...]
    """Patterns (fnmatch) of tensors that checkpoints carry and no text vector needs."""

    def parse(self, config: Mapping[str, Any]) -> NetworkConfig: ...

    def tokens(self, ops: Ops, w: Scope, c: Any, x: Mapping[str, Handle]) -> Handle: ...


class Classifying(Protocol):
    """What the file of an architecture that has a classification head holds besides."""

    PREFIX: str
    """What `transformers` puts before the body's tensors in a checkpoint that has a head; it may name {model_type}."""
    HEAD: tuple[str, ...]
    """Beginnings of the names that it does not stand before."""

    def parse_head(self, config: Mapping[str, Any]) -> Any:
        """What the head reads of a `config.json`: a frozen dataclass that has `hidden_size`."""

    def classify(self, ops: Ops, w: Scope, c: Classifier, h: Handle, x: Mapping[str, Handle]) -> Handle:
        """Scores (B, c.labels) from token states `h` (B, T, width); `w` is the network's own scope."""


class Narrowing(Protocol):
    """What the file of an architecture holds besides whose head reads the first token's state alone: its last layer
    need make no others."""

    def first_token(self, ops: Ops, w: Scope, c: Any, x: Mapping[str, Handle]) -> Handle:
        """That state, (B, 1, width)."""


class Causal(Protocol):
    """What the file of an architecture that foretells the next token holds besides."""

    CAUSAL: tuple[str, ...]
    """The `model_type`s that do."""

    def tied(self, config: Mapping[str, Any]) -> bool:
        """Whether logits are made with the table of words, "embed_tokens.weight", and not with "lm_head.weight"."""


@cache
def _networks() -> Mapping[str, Network]:
    found = {}
    for info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{info.name}")
        for model_type in getattr(module, "MODEL_TYPES", ()):
            found[model_type] = cast(Network, module)  # a module with these names is a network
    return found


def find(model_type: str) -> Network | None:
    """The network that serves a `model_type`, None when there is none here."""
    return _networks().get(model_type)


def classifying(model_type: str) -> Classifying | None:
    """The same, if it has a classification head."""
    network = find(model_type)
    return cast(Classifying, network) if hasattr(network, "classify") else None


def narrowing(model_type: str) -> Narrowing | None:
    """The same, if its head reads the first token alone."""
    network = find(model_type)
    return cast(Narrowing, network) if hasattr(network, "first_token") else None


def causal(model_type: str) -> Causal | None:
    """The same, if it foretells the next token."""
    network = find(model_type)
    return cast(Causal, network) if model_type in getattr(network, "CAUSAL", ()) else None


def known() -> list[str]:
    """Every `model_type` that has a network."""
    return sorted(_networks())
