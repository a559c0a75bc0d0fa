"""Gemma 3's text network (Gemma Team 2025, arXiv:2503.19786), causal or, as in EmbeddingGemma, seeing both ways."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vicinal.backends.base import Handle, Ops, Unary
from vicinal.loading.weights import Scope, Tensor
from vicinal.networks.blocks import Keys, dense
from vicinal.networks.decoder import classify, head_width, parse_head, shared_heads
from vicinal.networks.rotary import (
    FULL,
    LONGEST,
    SLIDING,
    Rope,
    Turn,
    gated,
    layer_kinds,
    ropes,
    turning,
    visible,
)

MODEL_TYPES = ("gemma3_text",)
ANCHOR = "embed_tokens.weight"
LEFTOVERS = ("lm_head.*", "score.*")
PREFIX, HEAD = "model.", ("score.",)
CAUSAL = ("gemma3_text",)
__all__ = [
    "ANCHOR", "CAUSAL", "HEAD", "LEFTOVERS", "MODEL_TYPES", "PREFIX", "classify", "parse", "parse_head", "tied",
    "tokens",
]  # fmt: skip


@dataclass(frozen=True)
class Config:
    """The keys of `config.json` that this network reads.

    Attributes:
        key_heads: heads that keys and values have; several query heads share one.
        kinds: of each layer, FULL or SLIDING.
        ropes: by kind of layer.
        reach: how many places beside its own a token sees in a sliding layer: before it, and after it if not causal.
        causal: whether a token sees only those before it.
        scale: of the attention's scores.
        stretches: whether positions beyond `max_tokens` are computed as those within.
    """

    vocab_size: int
    hidden_size: int
    layers: int
    heads: int
    key_heads: int
    head_width: int
    intermediate_size: int
    act: Unary
    max_tokens: int
    eps: float
    ropes: Mapping[str, Rope]
    kinds: tuple[str, ...]
    reach: int
    causal: bool
    scale: float
    biased: bool
    type_vocab_size: int = 0

    @property
    def stretches(self) -> bool:
        return not any(rope.bounded for rope in self.ropes.values())


def parse(config: Mapping[str, Any]) -> Config:
    """Read a `config.json`; what this network cannot express is refused."""
    keys = Keys(config)
    keys.refuse("attn_logit_softcapping", None)
    keys.refuse("use_bidirectional_attention", False, True, None)
    heads, layers, hidden = (keys.count(name) for name in ("num_attention_heads", "num_hidden_layers", "hidden_size"))
    width, positions = head_width(keys, hidden, heads, 256), keys.count("max_position_embeddings")
    pattern = keys.count("sliding_window_pattern", 6)
    usual = [SLIDING if (i + 1) % pattern else FULL for i in range(layers)]
    causal, both_ways = keys.flag("is_causal", True), bool(config.get("use_bidirectional_attention"))
    window = keys.count("sliding_window", 4096)
    window = window // 2 + 1 if both_ways else window  # half on either side
    thetas = {FULL: keys.number("rope_theta", 1e6), SLIDING: keys.number("rope_local_base_freq", 1e4)}
    return Config(
        vocab_size=keys.count("vocab_size"),
        hidden_size=hidden,
        layers=layers,
        heads=heads,
        key_heads=shared_heads(keys, heads, 4),
        head_width=width,
        intermediate_size=keys.count("intermediate_size"),
        act=keys.activation("hidden_activation", "gelu_pytorch_tanh"),
        max_tokens=min(positions, LONGEST),
        eps=keys.number("rms_norm_eps", 1e-6),
        ropes=ropes(keys, width, positions, thetas, scaled=(FULL,)),
        kinds=layer_kinds(keys, layers, usual),
        reach=window - 1 if causal else window,
        causal=causal and not both_ways,
        scale=keys.number("query_pre_attn_scalar", 256) ** -0.5,
        biased=keys.flag("attention_bias", False),
    )


def tied(config: Mapping[str, Any]) -> bool:
    """Whether the table of words makes the logits, too."""
    keys = Keys(config)
    keys.refuse("final_logit_softcapping", None)
    return keys.flag("tie_word_embeddings", True)


def tokens(ops: Ops, w: Scope, c: Config, x: Mapping[str, Handle]) -> Handle:
    """Token states (B, T, hidden_size)."""
    table = w.tensor("embed_tokens.weight", c.vocab_size, c.hidden_size)
    h = ops.embed(table, x["ids"]) * ops.constant(np.float32(c.hidden_size**0.5))
    kinds = sorted(set(c.kinds))
    turns = {kind: turning(ops, c.ropes[kind], x["index"], c.max_tokens) for kind in kinds}
    biases = {kind: visible(ops, x, c.max_tokens, c.causal, c.reach if kind == SLIDING else None) for kind in kinds}
    for i, kind in enumerate(c.kinds):
        s = w.at(f"layers.{i}")
        a = _attention(ops, s.at("self_attn"), c, _rms(ops, s, "input_layernorm", h, c), turns[kind], biases[kind])
        h = h + _rms(ops, s, "post_attention_layernorm", a, c)
        m = _rms(ops, s, "pre_feedforward_layernorm", h, c)
        m = gated(ops, s.at("mlp"), ("gate_proj", "up_proj", "down_proj"), m, c.hidden_size, c.intermediate_size, c.act)
        h = h + _rms(ops, s, "post_feedforward_layernorm", m, c)
    return _rms(ops, w, "norm", h, c)


def _attention(ops: Ops, w: Scope, c: Config, h: Handle, turn: Turn, bias: Handle | None) -> Handle:
    def heads(name: str, count: int) -> Handle:
        return ops.split_heads(dense(ops, w, name, h, c.hidden_size, count * c.head_width, c.biased), count)

    q = turn(_rms(ops, w, "q_norm", heads("q_proj", c.heads), c, c.head_width))
    k = turn(_rms(ops, w, "k_norm", heads("k_proj", c.key_heads), c, c.head_width))
    v = heads("v_proj", c.key_heads)
    mixed = ops.merge_heads(ops.attention(q, k, v, bias, c.scale, c.heads // c.key_heads))
    return dense(ops, w, "o_proj", mixed, c.heads * c.head_width, c.hidden_size, c.biased)


def _rms(ops: Ops, w: Scope, name: str, x: Handle, c: Config, width: int | None = None) -> Handle:
    """The normalisation `name`, whose weights are kept less one."""
    stored = w.at(name).tensor("weight", width or c.hidden_size)
    return ops.rms_norm(x, replace(Tensor.of(stored.name, stored.numeric() + np.float32(1)), file=stored.file), c.eps)
