"""DistilBERT (Sanh et al. 2019, arXiv:1910.01108): BERT's layers without segments, under names of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vicinal.backends.base import Handle, Ops
from vicinal.loading.spec import Classifier
from vicinal.loading.weights import Scope
from vicinal.networks import encoder
from vicinal.networks.blocks import Head, Keys, mask_bias, norm
from vicinal.networks.encoder import Config

MODEL_TYPES = ("distilbert",)
ANCHOR = "embeddings.word_embeddings.weight"
LEFTOVERS = (
    "embeddings.position_ids",
    "vocab_transform.*",
    "vocab_layer_norm.*",
    "vocab_projector.*",
    "pre_classifier.*",
    "classifier.*",
    "qa_outputs.*",
)
PREFIX, HEAD = "distilbert.", ("pre_classifier.", "classifier.")

_NAMES = encoder.Names(
    query="attention.q_lin",
    key="attention.k_lin",
    value="attention.v_lin",
    out="attention.out_lin",
    attention_norm="sa_layer_norm",
    up="ffn.lin1",
    down="ffn.lin2",
    norm="output_layer_norm",
)


def parse(config: Mapping[str, Any]) -> Config:
    """Read a `config.json`; what this network cannot express is refused."""
    keys = Keys(config)
    keys.share("dim", "n_heads")
    return Config(
        vocab_size=keys.count("vocab_size"),
        hidden_size=keys.count("dim"),
        layers=keys.count("n_layers"),
        heads=keys.count("n_heads"),
        intermediate_size=keys.count("hidden_dim"),
        act=keys.activation("activation"),
        positions=keys.count("max_position_embeddings"),
        type_vocab_size=0,
        eps=1e-12,
    )


def tokens(ops: Ops, w: Scope, c: Config, x: Mapping[str, Handle], only: Handle | None = None) -> Handle:
    """Token states (B, T, dim); of the tokens `only` (B,) alone, (B, 1, dim)."""
    e = w.at("embeddings")
    h = norm(ops, e, "LayerNorm", encoder.embeddings(ops, e, c, x, x["index"]), c.hidden_size, c.eps)
    bias = mask_bias(ops, x["mask"])
    return encoder.layers(ops, w.at("transformer.layer"), c, h, bias, only, _NAMES)


def first_token(ops: Ops, w: Scope, c: Config, x: Mapping[str, Handle]) -> Handle:
    """The state of the first token, (B, 1, dim)."""
    return tokens(ops, w, c, x, x["first"])


def parse_head(config: Mapping[str, Any]) -> Head:
    """The head reads nothing of its own."""
    return Head(Keys(config).count("dim"))


def classify(ops: Ops, w: Scope, c: Classifier, h: Handle, x: Mapping[str, Handle]) -> Handle:
    """DistilBertForSequenceClassification: two linear layers on the first token."""
    return encoder.first_token_scores(ops, w, c, h, x, "relu", ("pre_classifier", "classifier"))
