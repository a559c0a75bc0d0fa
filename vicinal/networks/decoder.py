"""Llama (Touvron et al. 2023, arXiv:2302.13971) and its kin: Mistral, Qwen2, Qwen3, and EuroBERT, which sees both ways.

E5-mistral, GTE-Qwen2, Qwen3-Embedding and most large embedders are of this kind.
"""

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
    flat_rope,
    gated,
    layer_kinds,
    rms,
    turning,
    visible,
)

MODEL_TYPES = ("llama", "mistral", "qwen2", "qwen3", "eurobert")
ANCHOR = "embed_tokens.weight"
LEFTOVERS = (
    "lm_head.*",
    "score.*",
    "classifier.*",
    "dense.*",
    "rotary_emb.inv_freq",
    "layers.*.self_attn.rotary_emb.inv_freq",
)

PREFIX, HEAD = "model.", ("score.", "dense.", "classifier.")
CAUSAL = ("llama", "mistral", "qwen2", "qwen3")

_KEY_HEADS = {"mistral": 8, "qwen2": 32, "qwen3": 32}
"""Where the file does not say; the others have one for each head."""


@dataclass(frozen=True)
class Config:
    """The keys of `config.json` that this network reads.

    Attributes:
        key_heads: heads that keys and values have; several query heads share one.
        kinds: of each layer, FULL or SLIDING.
        reach: how many places beside its own a token sees in a sliding layer: before it, and after it if not causal.
        causal: whether a token sees only those before it.
        biased, out_biased, inner_biased: whether query, key and value, the attention's output, and the feed-forward
            have biases.
        head_norm: whether each head's queries and keys are normalised.
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
    rope: Rope
    kinds: tuple[str, ...]
    reach: int | None
    causal: bool
    biased: bool
    out_biased: bool
    inner_biased: bool
    head_norm: bool
    type_vocab_size: int = 0

    @property
    def stretches(self) -> bool:
        return not self.rope.bounded


def parse(config: Mapping[str, Any]) -> Config:
    """Read a `config.json`; what this network cannot express is refused."""
    keys = Keys(config)
    kind = keys.kind
    keys.refuse("use_bidirectional_attention", False, None)
    heads, layers, hidden = (keys.count(name) for name in ("num_attention_heads", "num_hidden_layers", "hidden_size"))
    width = head_width(keys, hidden, heads, 128 if kind == "qwen3" else None)
    positions = keys.count("max_position_embeddings")
    window, kinds = _windows(keys, layers)
    causal = kind != "eurobert" and keys.flag("is_causal", True)
    biased = keys.flag("attention_bias", False) if kind in ("llama", "qwen3", "eurobert") else False
    return Config(
        vocab_size=keys.count("vocab_size"),
        hidden_size=hidden,
        layers=layers,
        heads=heads,
        key_heads=shared_heads(keys, heads, _KEY_HEADS.get(kind)),
        head_width=width,
        intermediate_size=keys.count("intermediate_size"),
        act=keys.activation("hidden_act", "silu"),
        max_tokens=min(positions, LONGEST),
        eps=keys.number("rms_norm_eps", 1e-5 if kind == "eurobert" else 1e-6),
        rope=flat_rope(keys, width, positions),
        kinds=kinds,
        reach=window - 1 if window is not None and causal else window,  # a causal window holds the token itself
        causal=causal,
        biased=biased or kind == "qwen2",
        out_biased=biased,
        inner_biased=keys.flag("mlp_bias", False) if kind in ("llama", "eurobert") else False,
        head_norm=kind == "qwen3",
    )


def head_width(keys: Keys, hidden: int, heads: int, default: int | None = None) -> int:
    """`head_dim`, or what each of the heads has of the whole width."""
    stated = keys.optional("head_dim", default)
    if stated is None and hidden % heads:
        raise keys.damaged(f"hidden_size {hidden} is no multiple of num_attention_heads {heads}")
    return hidden // heads if stated is None else stated


def shared_heads(keys: Keys, heads: int, default: int | None = None) -> int:
    """`num_key_value_heads`, of which the heads are a multiple."""
    stated = keys.optional("num_key_value_heads", default) or heads
    if heads % stated:
        raise keys.damaged(f"num_attention_heads {heads} is no multiple of num_key_value_heads {stated}")
    return stated


def _windows(keys: Keys, layers: int) -> tuple[int | None, tuple[str, ...]]:
    """The window, and the kind of each layer."""
    if keys.kind in ("qwen2", "qwen3"):
        window = keys.optional("sliding_window", 4096) if keys.flag("use_sliding_window", False) else None
        first = keys.whole("max_window_layers", 28)
        usual = [SLIDING if window is not None and i >= first else FULL for i in range(layers)]
        kinds = layer_kinds(keys, layers, usual)
    else:
        window = keys.optional("sliding_window", 4096) if keys.kind == "mistral" else None
        usual = [FULL if window is None else SLIDING] * layers
        kinds = layer_kinds(keys, layers, usual)
        if kinds != tuple(usual):
            raise keys.unsupported(f"layer_types are not handled here, only {usual[0]} for all")
    if SLIDING in kinds and window is None:
        raise keys.damaged("layers slide, but there is no sliding_window")
    return window, kinds


def tokens(ops: Ops, w: Scope, c: Config, x: Mapping[str, Handle]) -> Handle:
    """Token states (B, T, hidden_size)."""
    h = ops.embed(w.tensor("embed_tokens.weight", c.vocab_size, c.hidden_size), x["ids"])
    turn = turning(ops, c.rope, x["index"], c.max_tokens)
    kinds = sorted(set(c.kinds))
    biases = {kind: visible(ops, x, c.max_tokens, c.causal, c.reach if kind == SLIDING else None) for kind in kinds}
    for i, kind in enumerate(c.kinds):
        s = w.at(f"layers.{i}")
        n = rms(ops, s, "input_layernorm", h, c.hidden_size, c.eps)
        h = h + attention(ops, s.at("self_attn"), c, n, turn, biases[kind])
        n = rms(ops, s, "post_attention_layernorm", h, c.hidden_size, c.eps)
        h = h + gated(ops, s.at("mlp"), ("gate_proj", "up_proj", "down_proj"), n, c.hidden_size, c.intermediate_size,
                      c.act, c.inner_biased)  # fmt: skip
    return rms(ops, w, "norm", h, c.hidden_size, c.eps)


def attention(ops: Ops, w: Scope, c: Config, h: Handle, turn: Turn, bias: Handle | None) -> Handle:
    """Attention of (B, T, hidden_size) to itself."""
    width, d = c.hidden_size, c.head_width

    def heads(name: str, count: int) -> Handle:
        y = ops.split_heads(dense(ops, w, name, h, width, count * d, c.biased), count)
        if c.head_norm and name != "v_proj":
            y = rms(ops, w, f"{name[0]}_norm", y, d, c.eps)
        return y if name == "v_proj" else turn(y)

    q, k, v = heads("q_proj", c.heads), heads("k_proj", c.key_heads), heads("v_proj", c.key_heads)
    mixed = ops.merge_heads(ops.attention(q, k, v, bias, d**-0.5, c.heads // c.key_heads))
    return dense(ops, w, "o_proj", mixed, c.heads * d, width, c.out_biased)


def tied(config: Mapping[str, Any]) -> bool:
    """Whether the table of words makes the logits, too."""
    return Keys(config).flag("tie_word_embeddings", False)


@dataclass(frozen=True)
class _BothWays(Head):
    """Of EuroBertForSequenceClassification."""

    pooling: str


def parse_head(config: Mapping[str, Any]) -> Head:
    """EuroBERT's head is another than the causal models'."""
    keys = Keys(config)
    if keys.kind != "eurobert":
        return Head.parse(config)
    keys.refuse("classifier_pooling", "late", "bos", "mean")
    return _BothWays(keys.count("hidden_size"), str(config.get("classifier_pooling", "late")))


def classify(ops: Ops, w: Scope, c: Classifier, h: Handle, x: Mapping[str, Handle]) -> Handle:
    """LlamaForSequenceClassification and its like: a linear layer on the last token.

    EuroBERT: two on the first token, on the mean, or on every token before the mean ("late").
    """
    width = c.head.hidden_size
    if not isinstance(c.head, _BothWays):
        return dense(ops, w, "score", ops.gather_token(h, x["last"]), width, c.labels, bias=False)
    if c.head.pooling != "late":
        h = ops.gather_token(h, x["first"]) if c.head.pooling == "bos" else average(ops, h, x["mask"])
    scores = dense(ops, w, "classifier", ops.unary("gelu", dense(ops, w, "dense", h, width, width)), width, c.labels)
    return average(ops, scores, x["mask"]) if c.head.pooling == "late" else scores
