"""T5's encoder (Raffel et al. 2020, arXiv:1910.10683) and mT5's: sentence-t5, gtr.

Norms without mean come first, scores are not scaled, positions are numbers by distance alone: no text is too long.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vicinal.backends.base import Handle, Ops, Unary
from vicinal.loading.weights import Scope
from vicinal.networks.blocks import Keys, dense, mask_bias
from vicinal.networks.relative import relative_bias

MODEL_TYPES = ("t5", "mt5")
ANCHOR = "encoder.final_layer_norm.weight"
# The table of words stands under one of two names, or under both.
LEFTOVERS = ("encoder.embed_tokens.weight", "decoder.*", "lm_head.*")


@dataclass(frozen=True)
class Config:
    """The keys of `config.json` that this network reads."""

    vocab_size: int
    hidden_size: int
    head_size: int
    intermediate_size: int
    layers: int
    heads: int
    buckets: int
    far: int
    eps: float
    act: Unary
    gated: bool
    type_vocab_size: int = 0
    max_tokens: int | None = None


def parse(config: Mapping[str, Any]) -> Config:
    """Read a `config.json`; what this network cannot express is refused."""
    keys = Keys(config)
    keys.refuse("is_decoder", False, None)
    feed = config.get("feed_forward_proj", "gated-gelu" if config.get("model_type") == "mt5" else "relu")
    gate, _, act = str(feed).rpartition("-")
    if gate not in ("", "gated"):
        raise keys.unsupported(f"feed_forward_proj={feed!r} is neither an activation nor a gated one (gated-gelu)")
    if feed == "gated-gelu":  # means the approximation by tanh
        act = "gelu_new"
    parsed = Config(
        vocab_size=keys.count("vocab_size"),
        hidden_size=keys.count("d_model"),
        head_size=keys.count("d_kv"),
        intermediate_size=keys.count("d_ff"),
        layers=keys.count("num_layers"),
        heads=keys.count("num_heads"),
        buckets=keys.count("relative_attention_num_buckets", 32),
        far=keys.count("relative_attention_max_distance", 128),
        eps=keys.number("layer_norm_epsilon", 1e-6),
        act=Keys({**config, "feed_forward_proj": act}).activation("feed_forward_proj"),
        gated=gate == "gated",
    )
    if not 4 <= parsed.buckets < 4 * parsed.far:
        raise keys.damaged(
            f"of relative_attention_num_buckets {parsed.buckets}, a quarter must be 1 or more and less than "
            f"relative_attention_max_distance {parsed.far}"
        )
    return parsed


def tokens(ops: Ops, w: Scope, c: Config, x: Mapping[str, Handle]) -> Handle:
    """Token states (B, T, d_model)."""
    table = w.find("shared.weight", c.vocab_size, c.hidden_size)
    if table is None:
        table = w.tensor("encoder.embed_tokens.weight", c.vocab_size, c.hidden_size)
    h = ops.embed(table, x["ids"])
    blocks = w.at("encoder")
    numbers = blocks.tensor("block.0.layer.0.SelfAttention.relative_attention_bias.weight", c.buckets, c.heads)
    bias = mask_bias(ops, x["mask"]) + relative_bias(ops, x["index"], numbers, c.buckets, c.far)
    for i in range(c.layers):
        block = blocks.at(f"block.{i}")
        h = h + _attention(ops, block.at("layer.0"), c, h, bias)
        h = h + _feed_forward(ops, block.at("layer.1"), c, h)
    return _norm(ops, blocks, "final_layer_norm", c, h)


def _norm(ops: Ops, w: Scope, name: str, c: Config, h: Handle) -> Handle:
    return ops.rms_norm(h, w.tensor(f"{name}.weight", c.hidden_size), c.eps)


def _attention(ops: Ops, w: Scope, c: Config, h: Handle, bias: Handle) -> Handle:
    s, inner = w.at("SelfAttention"), c.heads * c.head_size
    h = _norm(ops, w, "layer_norm", c, h)
    q, k, v = (ops.split_heads(dense(ops, s, n, h, c.hidden_size, inner, bias=False), c.heads) for n in "qkv")
    return dense(ops, s, "o", ops.merge_heads(ops.attention(q, k, v, bias, 1.0)), inner, c.hidden_size, bias=False)


def _feed_forward(ops: Ops, w: Scope, c: Config, h: Handle) -> Handle:
    s, width, inner = w.at("DenseReluDense"), c.hidden_size, c.intermediate_size
    h = _norm(ops, w, "layer_norm", c, h)
    m = ops.unary(c.act, dense(ops, s, "wi_0" if c.gated else "wi", h, width, inner, bias=False))
    if c.gated:
        m = m * dense(ops, s, "wi_1", h, width, inner, bias=False)
    return dense(ops, s, "wo", m, inner, width, bias=False)
