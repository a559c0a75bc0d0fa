"""ModernBERT (Warner et al. 2024, arXiv:2412.13663): layers that see all between layers that see their neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vicinal.backends.base import Handle, Ops, Unary
from vicinal.loading.spec import Classifier
from vicinal.loading.weights import Scope
from vicinal.networks.blocks import Head, Keys, average, dense
from vicinal.networks.rotary import (
    FULL,
    LONGEST,
    SLIDING,
    Rope,
    Turn,
    layer_kinds,
    ropes,
    turning,
    visible,
)

MODEL_TYPES = ("modernbert",)
ANCHOR = "embeddings.tok_embeddings.weight"
LEFTOVERS = ("head.*", "decoder.*", "classifier.*")
PREFIX, HEAD = "model.", ("head.", "classifier.")


@dataclass(frozen=True)
class Config:
    """The keys of `config.json` that this network reads.

    Attributes:
        kinds: of each layer, FULL or SLIDING.
        ropes: by kind of layer.
        reach: how many places before and after its own a token sees in a sliding layer.
        stretches: whether positions beyond `max_tokens` are computed as those within.
    """

    vocab_size: int
    hidden_size: int
    layers: int
    heads: int
    intermediate_size: int
    act: Unary
    max_tokens: int
    eps: float
    ropes: Mapping[str, Rope]
    kinds: tuple[str, ...]
    reach: int
    attention_bias: bool
    mlp_bias: bool
    norm_bias: bool
    type_vocab_size: int = 0

    @property
    def stretches(self) -> bool:
        return not any(rope.bounded for rope in self.ropes.values())


def parse(config: Mapping[str, Any]) -> Config:
    """Read a `config.json`; what this network cannot express is refused."""
    keys = Keys(config)
    heads, layers, hidden, positions = (
        keys.count(name)
        for name in ("num_attention_heads", "num_hidden_layers", "hidden_size", "max_position_embeddings")
    )
    if hidden % heads:
        raise keys.damaged(f"hidden_size {hidden} is no multiple of num_attention_heads {heads}")
    thetas = {FULL: keys.number("global_rope_theta", 160_000.0), SLIDING: keys.number("local_rope_theta", 10_000.0)}
    every = keys.count("global_attn_every_n_layers", 3)
    return Config(
        vocab_size=keys.count("vocab_size"),
        hidden_size=hidden,
        layers=layers,
        heads=heads,
        intermediate_size=keys.count("intermediate_size"),
        act=keys.activation("hidden_activation"),
        max_tokens=min(positions, LONGEST),
        eps=keys.number("norm_eps", 1e-5),
        ropes=ropes(keys, hidden // heads, positions, thetas, scaled=(FULL, SLIDING)),
        kinds=layer_kinds(keys, layers, [SLIDING if i % every else FULL for i in range(layers)]),
        reach=keys.count("local_attention", 128) // 2,
        attention_bias=keys.flag("attention_bias", False),
        mlp_bias=keys.flag("mlp_bias", False),
        norm_bias=keys.flag("norm_bias", False),
    )


def tokens(ops: Ops, w: Scope, c: Config, x: Mapping[str, Handle]) -> Handle:
    """Token states (B, T, hidden_size)."""
    e = w.at("embeddings")
    h = _norm(ops, e, "norm", ops.embed(e.tensor("tok_embeddings.weight", c.vocab_size, c.hidden_size), x["ids"]), c)
    kinds = sorted(set(c.kinds))
    turns = {kind: turning(ops, c.ropes[kind], x["index"], c.max_tokens) for kind in kinds}
    biases = {kind: visible(ops, x, c.max_tokens, False, c.reach if kind == SLIDING else None) for kind in kinds}
    for i, kind in enumerate(c.kinds):
        s = w.at(f"layers.{i}")
        n = _norm(ops, s, "attn_norm", h, c) if i else h
        h = h + _attention(ops, s.at("attn"), c, n, turns[kind], biases[kind])
        h = h + _feed_forward(ops, s.at("mlp"), c, _norm(ops, s, "mlp_norm", h, c))
    return _norm(ops, w, "final_norm", h, c)


def _attention(ops: Ops, w: Scope, c: Config, h: Handle, turn: Turn, bias: Handle | None) -> Handle:
    width = c.hidden_size
    qkv = dense(ops, w, "Wqkv", h, width, 3 * width, c.attention_bias)
    q, k, v = (ops.split_heads(ops.slice(qkv, 2, i * width, (i + 1) * width), c.heads) for i in range(3))
    mixed = ops.attention(turn(q), turn(k), v, bias, (width // c.heads) ** -0.5)
    return dense(ops, w, "Wo", ops.merge_heads(mixed), width, width, c.attention_bias)


def _feed_forward(ops: Ops, w: Scope, c: Config, h: Handle) -> Handle:
    inner = c.intermediate_size
    both = dense(ops, w, "Wi", h, c.hidden_size, 2 * inner, c.mlp_bias)
    gate, up = ops.slice(both, 2, 0, inner), ops.slice(both, 2, inner, 2 * inner)
    return dense(ops, w, "Wo", ops.unary(c.act, gate) * up, inner, c.hidden_size, c.mlp_bias)


def _norm(ops: Ops, w: Scope, name: str, x: Handle, c: Config) -> Handle:
    s, width = w.at(name), c.hidden_size
    return ops.layer_norm(x, s.tensor("weight", width), s.tensor("bias", width) if c.norm_bias else None, c.eps)


@dataclass(frozen=True)
class _Head(Head):
    """Of ModernBertForSequenceClassification."""

    pooling: str
    act: Unary
    biased: bool
    norm_bias: bool
    eps: float


def parse_head(config: Mapping[str, Any]) -> _Head:
    """Read what the head is."""
    keys = Keys(config)
    return _Head(
        hidden_size=keys.count("hidden_size"),
        pooling=keys.demand("classifier_pooling", "cls", "mean"),
        act=keys.activation("classifier_activation"),
        biased=keys.flag("classifier_bias", False),
        norm_bias=keys.flag("norm_bias", False),
        eps=keys.number("norm_eps", 1e-5),
    )


def classify(ops: Ops, w: Scope, c: Classifier, h: Handle, x: Mapping[str, Handle]) -> Handle:
    """ModernBertForSequenceClassification: the first token or the mean, a layer of its own, then a linear one."""
    head: _Head = c.head
    width, s = head.hidden_size, w.at("head")
    pooled = ops.gather_token(h, x["first"]) if head.pooling == "cls" else average(ops, h, x["mask"])
    y = ops.unary(head.act, dense(ops, s, "dense", pooled, width, width, head.biased))
    scale, shift = s.at("norm").tensor("weight", width), s.at("norm").tensor("bias", width) if head.norm_bias else None
    return dense(ops, w, "classifier", ops.layer_norm(y, scale, shift, head.eps), width, c.labels)
