"""What BERT and its relatives share: configuration, embeddings, and a layer by whatever names its parts have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vicinal.backends.base import Handle, Ops, Unary
from vicinal.loading.spec import Classifier
from vicinal.loading.weights import Scope
from vicinal.networks.blocks import Keys, dense, norm


@dataclass(frozen=True)
class Config:
    """The keys of `config.json` that all of them read."""

    vocab_size: int
    hidden_size: int
    layers: int
    heads: int
    intermediate_size: int
    act: Unary
    positions: int
    type_vocab_size: int
    eps: float

    @property
    def max_tokens(self) -> int | None:
        """See `loading.spec.NetworkConfig`."""
        return self.positions


def common(keys: Keys, *, act: str = "gelu", types: int = 2, eps: float = 1e-12) -> dict[str, Any]:
    """`Config`'s fields under their usual names; a decoder is refused.

    Args:
        act, types, eps: of a silent configuration.
    """
    keys.refuse("position_embedding_type", "absolute", None)
    keys.refuse("is_decoder", False, None)
    keys.refuse("add_cross_attention", False, None)
    fields = {
        "vocab_size": keys.count("vocab_size"),
        "hidden_size": keys.count("hidden_size"),
        "layers": keys.count("num_hidden_layers"),
        "heads": keys.count("num_attention_heads"),
        "intermediate_size": keys.count("intermediate_size"),
        "act": keys.activation("hidden_act", act),
        "positions": keys.count("max_position_embeddings"),
        "type_vocab_size": keys.whole("type_vocab_size", types),
        "eps": keys.number("layer_norm_eps", eps),
    }
    keys.share("hidden_size", "num_attention_heads")
    return fields


def embeddings(
    ops: Ops, w: Scope, c: Config, x: Mapping[str, Handle], places: Handle | None, width: int | None = None
) -> Handle:
    """(B, T, width): word, segment and position vectors, added up.

    Args:
        places: rows of the position table, None where there is none.
        width: of the vectors, where it is not the layers'.
    """
    width = width or c.hidden_size
    h = ops.embed(w.tensor("word_embeddings.weight", c.vocab_size, width), x["ids"])
    if c.type_vocab_size:
        h = h + ops.embed(w.tensor("token_type_embeddings.weight", c.type_vocab_size, width), x["types"])
    if places is not None:
        h = h + ops.embed(w.tensor("position_embeddings.weight", c.positions, width), places)
    return h


@dataclass(frozen=True)
class Names:
    """What a checkpoint calls the parts of a layer."""

    query: str = "attention.self.query"
    key: str = "attention.self.key"
    value: str = "attention.self.value"
    out: str = "attention.output.dense"
    attention_norm: str = "attention.output.LayerNorm"
    up: str = "intermediate.dense"
    down: str = "output.dense"
    norm: str = "output.LayerNorm"


BERT = Names()


def layers(ops: Ops, w: Scope, c: Config, h: Handle, bias: Handle, only: Handle | None, names: Names = BERT) -> Handle:
    """All layers, each under its number; (B, T, D), or (B, 1, D) where the states of the tokens `only` (B,) are all
    that is wanted: then the last layer makes no others."""
    for i in range(c.layers):
        h = layer(ops, w.at(str(i)), c, h, bias, names, only if i == c.layers - 1 else None)
    return h if only is None or c.layers else ops.expand_dims(ops.gather_token(h, only), 1)


def layer(
    ops: Ops, w: Scope, c: Config, h: Handle, bias: Handle, names: Names = BERT, only: Handle | None = None
) -> Handle:
    """Attention and feed-forward, each added to its input and normalised.

    Args:
        bias: added to the scores, broadcast to (B, H, T, T).
        only: tokens (B,) whose states are wanted; None for all. `bias` must be the same for every token then.
    """
    wanted = h if only is None else ops.expand_dims(ops.gather_token(h, only), 1)
    q, k, v = projections(ops, w, c, h, names, wanted)
    mixed = ops.attention(q, k, v, bias, (c.hidden_size // c.heads) ** -0.5)
    return finish(ops, w, c, wanted, mixed, names)


def projections(
    ops: Ops, w: Scope, c: Config, h: Handle, names: Names = BERT, wanted: Handle | None = None
) -> list[Handle]:
    """Queries (of `wanted`, where not all ask), keys and values, (B, H, T, d) each.

    Values are a twelfth of a layer's products, and three fifths of what int8 costs in cosine come from rounding
    their inputs (all-MiniLM-L6-v2): attention hands these errors on to every token.
    """
    width, asking = c.hidden_size, h if wanted is None else wanted
    parts = ((names.query, asking, False), (names.key, h, False), (names.value, h, True))
    return [ops.split_heads(dense(ops, w, name, x, width, width, spared=spared), c.heads) for name, x, spared in parts]


def finish(ops: Ops, w: Scope, c: Config, h: Handle, mixed: Handle, names: Names = BERT) -> Handle:
    """The rest of a layer, from its input (B, T, D) and what attention made of it (B, H, T, d)."""
    width = c.hidden_size
    a = dense(ops, w, names.out, ops.merge_heads(mixed), width, width)
    h = norm(ops, w, names.attention_norm, h + a, width, c.eps)
    m = ops.unary(c.act, dense(ops, w, names.up, h, width, c.intermediate_size))
    return norm(ops, w, names.norm, h + dense(ops, w, names.down, m, c.intermediate_size, width), width, c.eps)


def first_token_scores(
    ops: Ops,
    w: Scope,
    c: Classifier,
    h: Handle,
    x: Mapping[str, Handle],
    act: Unary,
    names: tuple[str, str] = ("dense", "out_proj"),
) -> Handle:
    """The head that most of them have: scores (B, labels) from the first token, through two linear layers."""
    width = c.head.hidden_size
    inner = ops.unary(act, dense(ops, w, names[0], ops.gather_token(h, x["first"]), width, width))
    return dense(ops, w, names[1], inner, width, c.labels)
