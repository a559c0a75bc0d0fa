"""ALBERT (Lan et al. 2020, arXiv:1909.11942): BERT whose layers share weights in groups, with narrower embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vicinal.backends.base import Handle, Ops
from vicinal.loading.spec import Classifier
from vicinal.loading.weights import Scope
from vicinal.networks import encoder
from vicinal.networks.blocks import Head, Keys, dense, mask_bias, norm

MODEL_TYPES = ("albert",)
ANCHOR = "embeddings.word_embeddings.weight"
LEFTOVERS = (
    "embeddings.position_ids",
    "embeddings.token_type_ids",
    "pooler.*",
    "predictions.*",
    "sop_classifier.*",
    "classifier.*",
    "qa_outputs.*",
)
PREFIX, HEAD = "albert.", ("classifier.",)

_NAMES = encoder.Names(
    query="attention.query",
    key="attention.key",
    value="attention.value",
    out="attention.dense",
    attention_norm="attention.LayerNorm",
    up="ffn",
    down="ffn_output",
    norm="full_layer_layer_norm",
)


@dataclass(frozen=True)
class Config(encoder.Config):
    """The keys of `config.json` that this network reads."""

    embedding_size: int
    groups: int
    inner: int


def parse(config: Mapping[str, Any]) -> Config:
    """Read a `config.json`; what this network cannot express is refused."""
    keys = Keys(config)
    return Config(
        **encoder.common(keys, act="gelu_new"),
        embedding_size=keys.count("embedding_size", 128),
        groups=keys.count("num_hidden_groups", 1),
        inner=keys.count("inner_group_num", 1),
    )


def tokens(ops: Ops, w: Scope, c: Config, x: Mapping[str, Handle]) -> Handle:
    """Token states (B, T, hidden_size)."""
    e, narrow, s = w.at("embeddings"), c.embedding_size, w.at("encoder")
    h = norm(ops, e, "LayerNorm", encoder.embeddings(ops, e, c, x, x["index"], narrow), narrow, c.eps)
    h = dense(ops, s, "embedding_hidden_mapping_in", h, narrow, c.hidden_size)
    bias = mask_bias(ops, x["mask"])
    for i in range(c.layers):
        group = s.at(f"albert_layer_groups.{int(i / (c.layers / c.groups))}")
        for j in range(c.inner):
            h = encoder.layer(ops, group.at(f"albert_layers.{j}"), c, h, bias, _NAMES)
    return h


def parse_head(config: Mapping[str, Any]) -> Head:
    """The head reads nothing of its own."""
    return Head.parse(config)


def classify(ops: Ops, w: Scope, c: Classifier, h: Handle, x: Mapping[str, Handle]) -> Handle:
    """AlbertForSequenceClassification: the pooled first token, then a linear layer."""
    return encoder.first_token_scores(ops, w, c, h, x, "tanh", ("pooler", "classifier"))
