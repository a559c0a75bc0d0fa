"""ELECTRA's discriminator (Clark et al. 2020, arXiv:2003.10555): BERT with narrower embeddings, projected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vicinal.backends.base import Handle, Ops
from vicinal.loading.spec import Classifier
from vicinal.loading.weights import Scope
from vicinal.networks import encoder
from vicinal.networks.blocks import Head, Keys, dense, mask_bias, norm

MODEL_TYPES = ("electra",)
ANCHOR = "embeddings.word_embeddings.weight"
LEFTOVERS = (
    "embeddings.position_ids",
    "embeddings.token_type_ids",
    "discriminator_predictions.*",
    "generator_predictions.*",
    "generator_lm_head.*",
    "classifier.*",
    "sequence_summary.*",
    "qa_outputs.*",
)
PREFIX, HEAD = "electra.", ("classifier.",)


@dataclass(frozen=True)
class Config(encoder.Config):
    """The keys of `config.json` that this network reads."""

    embedding_size: int


def parse(config: Mapping[str, Any]) -> Config:
    """Read a `config.json`; what this network cannot express is refused."""
    keys = Keys(config)
    return Config(**encoder.common(keys), embedding_size=keys.count("embedding_size", 128))


def tokens(ops: Ops, w: Scope, c: Config, x: Mapping[str, Handle], only: Handle | None = None) -> Handle:
    """Token states (B, T, hidden_size); of the tokens `only` (B,) alone, (B, 1, hidden_size)."""
    e, narrow = w.at("embeddings"), c.embedding_size
    h = norm(ops, e, "LayerNorm", encoder.embeddings(ops, e, c, x, x["index"], narrow), narrow, c.eps)
    if narrow != c.hidden_size:
        h = dense(ops, w, "embeddings_project", h, narrow, c.hidden_size)
    bias = mask_bias(ops, x["mask"])
    return encoder.layers(ops, w.at("encoder.layer"), c, h, bias, only)


def first_token(ops: Ops, w: Scope, c: Config, x: Mapping[str, Handle]) -> Handle:
    """The state of the first token, (B, 1, hidden_size)."""
    return tokens(ops, w, c, x, x["first"])


def parse_head(config: Mapping[str, Any]) -> Head:
    """The head reads nothing of its own."""
    return Head.parse(config)


def classify(ops: Ops, w: Scope, c: Classifier, h: Handle, x: Mapping[str, Handle]) -> Handle:
    """ElectraForSequenceClassification: two linear layers on the first token."""
    return encoder.first_token_scores(ops, w.at("classifier"), c, h, x, "gelu")
