"""BERT with rotary positions and gated feed-forwards: NomicBERT (Nussbaum et al. 2024, arXiv:2402.01613) and GTE
(Zhang et al. 2024, arXiv:2407.19669), each in two spellings: that of `transformers`, and that of the code that the
models came with, which packs query, key and value into one matrix.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vicinal.backends.base import Handle, Ops, Unary
from vicinal.loading.spec import Classifier
from vicinal.loading.weights import Scope
from vicinal.networks import encoder
from vicinal.networks.blocks import Head, Keys, dense, mask_bias, norm
from vicinal.networks.rotary import LONGEST, Rope, Turn, flat_rope, read_rope, turning

MODEL_TYPES = ("nomic_bert", "gte", "new")
ANCHOR = "embeddings.word_embeddings.weight"
LEFTOVERS = ("pooler.*", "cls.*", "lm_head.*", "classifier.*", "embeddings.position_ids", "*rotary_emb.inv_freq")
PREFIX, HEAD = "{model_type}.", ("classifier.",)


@dataclass(frozen=True)
class Config:
    """The keys of `config.json` that this network reads.

    Attributes:
        biased: whether query, key, value and the attention's output have biases.
        down_biased: whether the feed-forward's output has one.
        stretches: whether positions beyond `max_tokens` are computed as those within.
    """

    vocab_size: int
    hidden_size: int
    layers: int
    heads: int
    intermediate_size: int
    act: Unary
    max_tokens: int
    type_vocab_size: int
    eps: float
    rope: Rope
    biased: bool
    down_biased: bool

    @property
    def stretches(self) -> bool:
        return not self.rope.bounded


@dataclass(frozen=True)
class Names:
    """What a spelling calls its parts. `qkv`, `gate_up`: one matrix for all of them, "" where each has its own."""

    norm: str
    layer: str
    attention: str
    qkv: str
    out: str
    attention_norm: str
    gate_up: str
    gate: str
    up: str
    down: str
    output_norm: str


PLAIN = Names(
    norm="embeddings.LayerNorm", layer="layers", attention="self_attn", qkv="", out="o_proj",
    attention_norm="post_attention_layernorm", gate_up="", gate="mlp.gate_proj", up="mlp.up_proj", down="mlp.down_proj",
    output_norm="post_mlp_layernorm",
)  # fmt: skip
NOMIC = Names(
    norm="emb_ln", layer="encoder.layers", attention="attn", qkv="Wqkv", out="out_proj", attention_norm="norm1",
    gate_up="", gate="mlp.fc12", up="mlp.fc11", down="mlp.fc2", output_norm="norm2",
)  # fmt: skip
NEW = Names(
    norm="embeddings.LayerNorm", layer="encoder.layer", attention="attention", qkv="qkv_proj", out="o_proj",
    attention_norm="attn_ln", gate_up="mlp.up_gate_proj", gate="", up="", down="mlp.down_proj", output_norm="mlp_ln",
)  # fmt: skip


def parse(config: Mapping[str, Any]) -> Config:
    """Read a `config.json` in any of the spellings; what this network cannot express is refused."""
    keys = Keys(config)
    return _nomic(keys) if keys.kind == "nomic_bert" and "n_embd" in config else _native(keys)


def _head_width(keys: Keys, hidden: int, heads: int) -> int:
    if hidden % heads:
        raise keys.damaged(f"a width of {hidden} is no multiple of {heads} attention heads")
    return hidden // heads


def _native(keys: Keys) -> Config:
    """As `transformers` spells it; the code that GTE came with has nearly the same keys."""
    hidden, heads = keys.count("hidden_size"), keys.count("num_attention_heads")
    width = _head_width(keys, hidden, heads)
    positions, nomic = keys.count("max_position_embeddings"), keys.kind == "nomic_bert"
    keys.refuse("head_dim", None, width)
    if keys.kind == "new":
        keys.demand("position_embedding_type", "rope")
        keys.refuse("layer_norm_type", "layer_norm")
        keys.refuse("logn_attention_scale", False)
        keys.refuse("pack_qkv", True)
        theta = 10_000.0
    else:
        theta = 1000.0 if nomic else 160_000.0
    return Config(
        vocab_size=keys.count("vocab_size"),
        hidden_size=hidden,
        layers=keys.count("num_hidden_layers"),
        heads=heads,
        intermediate_size=keys.count("intermediate_size"),
        act=keys.activation("hidden_act", "silu" if nomic else "gelu"),
        max_tokens=min(positions, LONGEST),
        type_vocab_size=keys.whole("type_vocab_size", 2 if nomic else 1),
        eps=keys.number("layer_norm_eps", 1e-12),
        rope=flat_rope(keys, width, positions, theta),
        biased=not nomic,
        down_biased=not nomic,
    )


def _nomic(keys: Keys) -> Config:
    """As the code spells it that NomicBERT came with."""
    for key in ("prenorm", "use_rms_norm", "parallel_block", "causal", "qkv_proj_bias", "mlp_fc1_bias", "mlp_fc2_bias",
                "rotary_emb_interleaved", "scale_attn_by_inverse_layer_idx"):  # fmt: skip
        keys.refuse(key, False)
    keys.refuse("scale_attn_weights", True)
    keys.refuse("rotary_emb_fraction", 1.0)
    keys.refuse("rotary_emb_scale_base", None)
    keys.refuse("num_experts", None, 0)
    keys.refuse("moe_every_n_layers", None, 0, -1)
    gate = keys.demand("activation_function", *_GATES)
    hidden, heads, positions = keys.count("n_embd"), keys.count("n_head"), keys.count("n_positions")
    scaling, stretched = keys.some("rotary_scaling_factor"), {}
    if scaling is not None:
        stretched, positions = {"rope_type": "dynamic", "factor": scaling}, keys.count("max_trained_positions", 2048)
    multiple = keys.count("pad_vocab_size_multiple", 1)
    return Config(
        vocab_size=-(-keys.count("vocab_size") // multiple) * multiple,
        hidden_size=hidden,
        layers=keys.count("n_layer"),
        heads=heads,
        intermediate_size=keys.optional("n_inner") or 4 * hidden,
        act=_GATES[gate],
        max_tokens=min(positions, LONGEST),
        type_vocab_size=keys.count("type_vocab_size", 2),
        eps=keys.number("layer_norm_epsilon", 1e-12),
        rope=read_rope(
            keys, stretched, _head_width(keys, hidden, heads), positions, keys.number("rotary_emb_base", 10_000.0)
        ),
        biased=False,
        down_biased=False,
    )


_GATES: Mapping[str, Unary] = {"swiglu": "silu", "geglu": "gelu", "glu": "sigmoid"}


def tokens(ops: Ops, w: Scope, c: Config, x: Mapping[str, Handle]) -> Handle:
    """Token states (B, T, hidden_size)."""
    e, width, names = w.at("embeddings"), c.hidden_size, _spelling(w, c)
    h = ops.embed(e.tensor("word_embeddings.weight", c.vocab_size, width), x["ids"])
    if c.type_vocab_size:
        h = h + ops.embed(e.tensor("token_type_embeddings.weight", c.type_vocab_size, width), x["types"])
    h = norm(ops, w, names.norm, h, width, c.eps)
    turn, bias = turning(ops, c.rope, x["index"], c.max_tokens), mask_bias(ops, x["mask"])
    for i in range(c.layers):
        s = w.at(f"{names.layer}.{i}")
        a = _attention(ops, s.at(names.attention), c, names, h, turn, bias)
        h = norm(ops, s, names.attention_norm, h + a, width, c.eps)
        h = norm(ops, s, names.output_norm, h + _feed_forward(ops, s, c, names, h), width, c.eps)
    return h


def _spelling(w: Scope, c: Config) -> Names:
    """The names that the checkpoint has, whichever its configuration has: a converted one may keep its old tensors."""
    if w.at(NOMIC.norm).find("weight", c.hidden_size) is not None:
        return NOMIC
    first = w.at(f"{NEW.layer}.0").at(NEW.attention).at(NEW.qkv)
    return PLAIN if first.find("weight", 3 * c.hidden_size, c.hidden_size) is None else NEW


def _attention(ops: Ops, w: Scope, c: Config, names: Names, h: Handle, turn: Turn, bias: Handle) -> Handle:
    width = c.hidden_size
    if names.qkv:
        packed = dense(ops, w, names.qkv, h, width, 3 * width, c.biased)
        parts = [ops.slice(packed, 2, i * width, (i + 1) * width) for i in range(3)]
    else:
        parts = [dense(ops, w, f"{part}_proj", h, width, width, c.biased) for part in "qkv"]
    q, k, v = (ops.split_heads(part, c.heads) for part in parts)
    mixed = ops.attention(turn(q), turn(k), v, bias, (width // c.heads) ** -0.5)
    return dense(ops, w, names.out, ops.merge_heads(mixed), width, width, c.biased)


def _feed_forward(ops: Ops, w: Scope, c: Config, names: Names, h: Handle) -> Handle:
    width, inner = c.hidden_size, c.intermediate_size
    if names.gate_up:
        both = dense(ops, w, names.gate_up, h, width, 2 * inner, bias=False)
        up, gate = ops.slice(both, 2, 0, inner), ops.slice(both, 2, inner, 2 * inner)
    else:
        gate, up = (dense(ops, w, name, h, width, inner, bias=False) for name in (names.gate, names.up))
    return dense(ops, w, names.down, ops.unary(c.act, gate) * up, inner, width, c.down_biased)


def parse_head(config: Mapping[str, Any]) -> Head:
    """The head reads nothing of its own."""
    return Head(Keys(config).count("n_embd" if "n_embd" in config else "hidden_size"))


def classify(ops: Ops, w: Scope, c: Classifier, h: Handle, x: Mapping[str, Handle]) -> Handle:
    """GteForSequenceClassification and NomicBERT's: the pooled first token, then a linear layer."""
    return encoder.first_token_scores(ops, w, c, h, x, "tanh", ("pooler.dense", "classifier"))
