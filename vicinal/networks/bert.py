"""BERT (Devlin et al. 2019, arXiv:1810.04805): MiniLM, BGE, E5, GTE, Arctic and most small encoders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vicinal.backends.base import Handle, Ops
from vicinal.loading.spec import Classifier
from vicinal.loading.weights import Scope
from vicinal.networks import encoder
from vicinal.networks.blocks import Head, Keys, mask_bias, norm
from vicinal.networks.encoder import Config

MODEL_TYPES = ("bert",)
ANCHOR = "embeddings.word_embeddings.weight"
LEFTOVERS = (
    "embeddings.position_ids",
    "embeddings.token_type_ids",
    "pooler.*",
    "cls.*",
    "classifier.*",
    "qa_outputs.*",
)
PREFIX, HEAD = "bert.", ("classifier.",)


def parse(config: Mapping[str, Any]) -> Config:
    """Read a `config.json`; what this network cannot express is refused."""
    return Config(**encoder.common(Keys(config)))


def tokens(ops: Ops, w: Scope, c: Config, x: Mapping[str, Handle], only: Handle | None = None) -> Handle:
    """Token states (B, T, hidden_size); of the tokens `only` (B,) alone, (B, 1, hidden_size)."""
    e = w.at("embeddings")
    h = norm(ops, e, "LayerNorm", encoder.embeddings(ops, e, c, x, x["index"]), c.hidden_size, c.eps)
    bias = mask_bias(ops, x["mask"])
    return encoder.layers(ops, w.at("encoder.layer"), c, h, bias, only)


def first_token(ops: Ops, w: Scope, c: Config, x: Mapping[str, Handle]) -> Handle:
    """The state of the first token, (B, 1, hidden_size)."""
    return tokens(ops, w, c, x, x["first"])


def parse_head(config: Mapping[str, Any]) -> Head:
    """The head reads nothing of its own."""
    return Head.parse(config)


def classify(ops: Ops, w: Scope, c: Classifier, h: Handle, x: Mapping[str, Handle]) -> Handle:
    """BertForSequenceClassification: the pooled first token, then a linear layer."""
    return encoder.first_token_scores(ops, w, c, h, x, "tanh", ("pooler.dense", "classifier"))
