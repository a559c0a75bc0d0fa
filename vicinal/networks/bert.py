"""BERT (Devlin et al. 2019, arXiv:1810.04805): MiniLM, BGE, E5, GTE, Arctic and most small encoders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vicinal.backends.base import Handle, Ops, Unary
from vicinal.errors import DamagedModel
from vicinal.loading.spec import Classifier
from vicinal.loading.weights import Scope
from vicinal.networks.blocks import Head, Keys, dense, mask_bias, norm

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


@dataclass(frozen=True)
class Config:
    """The keys of `config.json` that this network reads."""

    vocab_size: int
    hidden_size: int
    layers: int
    heads: int
    intermediate_size: int
    act: Unary
    max_tokens: int
    type_vocab_size: int
    eps: float


def parse(config: Mapping[str, Any]) -> Config:
    """Read a `config.json`; what this network cannot express is refused."""
    keys = Keys(config)
    keys.refuse("position_embedding_type", "absolute", None)
    keys.refuse("is_decoder", False, None)
    keys.refuse("add_cross_attention", False, None)
    parsed = Config(
        vocab_size=keys.count("vocab_size"),
        hidden_size=keys.count("hidden_size"),
        layers=keys.count("num_hidden_layers"),
        heads=keys.count("num_attention_heads"),
        intermediate_size=keys.count("intermediate_size"),
        act=keys.activation("hidden_act"),
        max_tokens=keys.count("max_position_embeddings"),
        type_vocab_size=keys.count("type_vocab_size", 2),
        eps=keys.number("layer_norm_eps", 1e-12),
    )
    if parsed.hidden_size % parsed.heads:
        raise DamagedModel(
            f"config.json: hidden_size {parsed.hidden_size} is no multiple of num_attention_heads {parsed.heads}"
        )
    return parsed


def tokens(ops: Ops, w: Scope, c: Config, x: Mapping[str, Handle]) -> Handle:
    """Token states (B, T, hidden_size)."""
    e, width = w.at("embeddings"), c.hidden_size
    h = ops.embed(e.tensor("word_embeddings.weight", c.vocab_size, width), x["ids"])
    h = h + ops.embed(e.tensor("token_type_embeddings.weight", c.type_vocab_size, width), x["types"])
    h = h + ops.embed(e.tensor("position_embeddings.weight", c.max_tokens, width), x["index"])
    h = norm(ops, e, "LayerNorm", h, width, c.eps)
    bias = mask_bias(ops, x["mask"])
    for i in range(c.layers):
        h = layer(ops, w.at(f"encoder.layer.{i}"), c, h, bias)
    return h


def layer(ops: Ops, w: Scope, c: Config, h: Handle, bias: Handle) -> Handle:
    """Attention and feed-forward, each added to its input and normalised."""
    width, s = c.hidden_size, w.at("attention.self")
    q, k, v = (ops.split_heads(dense(ops, s, n, h, width, width), c.heads) for n in ("query", "key", "value"))
    a = ops.merge_heads(ops.attention(q, k, v, bias, (width // c.heads) ** -0.5))
    a = dense(ops, w, "attention.output.dense", a, width, width)
    h = norm(ops, w, "attention.output.LayerNorm", h + a, width, c.eps)
    m = ops.unary(c.act, dense(ops, w, "intermediate.dense", h, width, c.intermediate_size))
    m = dense(ops, w, "output.dense", m, c.intermediate_size, width)
    return norm(ops, w, "output.LayerNorm", h + m, width, c.eps)


def parse_head(config: Mapping[str, Any]) -> Head:
    """The head reads nothing of its own."""
    return Head.parse(config)


def classify(ops: Ops, w: Scope, c: Classifier, h: Handle, x: Mapping[str, Handle]) -> Handle:
    """BertForSequenceClassification: the pooled first token, then a linear layer."""
    width = c.head.hidden_size
    pooled = ops.unary("tanh", dense(ops, w, "pooler.dense", ops.gather_token(h, x["first"]), width, width))
    return dense(ops, w, "classifier", pooled, width, c.labels)
