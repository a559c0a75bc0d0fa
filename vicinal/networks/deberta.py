"""DeBERTa-v2 and v3 (He et al. 2021, arXiv:2006.03654 and arXiv:2111.09543): mxbai-rerank and other cross-encoders.

BERT's layers; besides content with content, attention compares content with vectors of distances, one way or both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vicinal.backends.base import Handle, Ops, Unary
from vicinal.loading.spec import Classifier
from vicinal.loading.weights import Scope
from vicinal.networks import encoder
from vicinal.networks.blocks import Head, Keys, dense, mask_bias, norm
from vicinal.networks.relative import distances

MODEL_TYPES = ("deberta-v2",)
ANCHOR = "embeddings.word_embeddings.weight"
LEFTOVERS = (
    "embeddings.position_ids",
    "embeddings.position_embeddings.*",
    "pooler.*",
    "cls.*",
    "lm_predictions.*",
    "mask_predictions.*",
    "classifier.*",
    "qa_outputs.*",
)
PREFIX, HEAD = "deberta.", ("pooler.", "classifier.")

_C2P, _P2C = "c2p", "p2c"
_NAMES = encoder.Names(
    query="attention.self.query_proj", key="attention.self.key_proj", value="attention.self.value_proj"
)


@dataclass(frozen=True)
class Config(encoder.Config):
    """The keys of `config.json` that this network reads.

    Attributes:
        embedding_size: width of the embeddings, projected where it is not the layers'.
        placed: whether a token's place is part of its embedding.
        ways: which comparisons with distances are made, "c2p" of queries and "p2c" of keys with them.
        relative: whether they are made at all; the scores' scale counts `ways` all the same.
        shared: whether distances go through the projections of content.
        normed: whether the vectors of distances are normalised.
        buckets: of distances, on each side; 0 is one for each distance up to `far`.
        far: the distance that the last bucket begins with.
        max_tokens: positions that there are; `stretches` where the file's number only bounds distances.
    """

    embedding_size: int
    placed: bool
    ways: tuple[str, ...]
    relative: bool
    shared: bool
    normed: bool
    buckets: int
    far: int
    max_tokens: int = 0

    @property
    def stretches(self) -> bool:
        """Whether positions beyond `max_tokens` are computed as those within."""
        return not self.placed

    @property
    def span(self) -> int:
        """Rows of the table of distances on each side."""
        return self.buckets or self.far


def parse(config: Mapping[str, Any]) -> Config:
    """Read a `config.json`; what this network cannot express is refused."""
    keys = Keys(config)
    if config.get("conv_kernel_size"):
        raise keys.unsupported(
            f"conv_kernel_size={config['conv_kernel_size']!r} asks for a ConvLayer, which is not handled here"
        )
    common = encoder.common(keys, types=0, eps=1e-7)
    keys.refuse("attention_head_size", common["hidden_size"] // common["heads"])
    relative, ways = keys.flag("relative_attention", False), _words(config.get("pos_att_type"))
    norms = _words(config.get("norm_rel_ebd", "none"))
    far, buckets = (
        0 if config.get(key, -1) == -1 else keys.whole(key, 0) for key in ("max_relative_positions", "position_buckets")
    )
    far = far or common["positions"]
    if strange := set(ways) - {_C2P, _P2C}:
        raise keys.unsupported(f"pos_att_type {sorted(strange)[0]!r} is not handled here, only {_C2P} and {_P2C}")
    if relative and not ways:
        raise keys.damaged("relative_attention needs a pos_att_type")
    if strange := set(norms) - ({"none", "layer_norm"} if relative else {"none"}):
        raise keys.unsupported(f"norm_rel_ebd {sorted(strange)[0]!r} is not handled here")
    if buckets and not 2 <= buckets // 2 + 1 < far:
        raise keys.damaged(f"position_buckets {buckets} must be 2 or more, and half of them less than {far - 1}")
    return Config(
        **common,
        embedding_size=keys.count("embedding_size", common["hidden_size"]),
        placed=keys.flag("position_biased_input", True),
        ways=ways,
        relative=relative,
        shared=keys.flag("share_att_key", False),
        normed="layer_norm" in norms,
        buckets=buckets,
        far=far,
        max_tokens=common["positions"],
    )


def _words(stated: Any) -> tuple[str, ...]:
    """A list of words, or words between bars."""
    listed = str(stated or "").lower().split("|") if not isinstance(stated, list) else stated
    return tuple(dict.fromkeys(word for word in (str(part).strip() for part in listed) if word))


def distance_rows(reach: int, buckets: int, far: int) -> NDArray[np.int32]:
    """The row of the table for every distance -reach..reach from key to query, (2 reach + 1,).

    Distances up to half of the buckets have a row each, those beyond share rows by their logarithm up to `far`;
    without buckets each has its own. What is farther has the first row or the last.

    >>> distance_rows(9, 4, 9).tolist()
    [0, 1, 1, 1, 1, 1, 1, 2, 3, 4, 5, 6, 7, 7, 7, 7, 7, 7, 7]
    """
    d = np.arange(-reach, reach + 1)
    span = buckets or far
    if buckets:
        middle, n = buckets // 2, np.abs(d)
        log = np.log((np.maximum(n, middle) / middle).astype(np.float32))
        share = log / np.log(np.float32((far - 1) / middle)) * np.float32(middle - 1)
        d = np.where(n <= middle, d, (np.ceil(share).astype(np.int64) + middle) * np.sign(d))
    return (d + span).clip(0, 2 * span - 1).astype(np.int32)


def tokens(ops: Ops, w: Scope, c: Config, x: Mapping[str, Handle]) -> Handle:
    """Token states (B, T, hidden_size)."""
    e, narrow = w.at("embeddings"), c.embedding_size
    h = encoder.embeddings(ops, e, c, x, x["index"] if c.placed else None, narrow)
    if narrow != c.hidden_size:
        h = dense(ops, e, "embed_proj", h, narrow, c.hidden_size, bias=False)
    h = norm(ops, e, "LayerNorm", h, c.hidden_size, c.eps)
    bias, apart = mask_bias(ops, x["mask"]), _Distances(ops, w.at("encoder"), c, x["index"]) if c.relative else None
    scale = (c.hidden_size // c.heads * (1 + len(c.ways))) ** -0.5
    for i in range(c.layers):
        s = w.at(f"encoder.layer.{i}")
        q, k, v = encoder.projections(ops, s, c, h, _NAMES)
        scores = bias if apart is None else bias + apart.scores(s.at("attention.self"), q, k, scale)
        h = encoder.finish(ops, s, c, h, ops.attention(q, k, v, scores, scale))
    return h


class _Distances:
    """The vectors of distances, and which one each pair of tokens takes."""

    def __init__(self, ops: Ops, w: Scope, c: Config, index: Handle) -> None:
        self.ops, self.c = ops, c
        table = ops.constant(w.tensor("rel_embeddings.weight", 2 * c.span, c.hidden_size))
        if c.normed:
            table = norm(ops, w, "LayerNorm", table, c.hidden_size, c.eps)
        self.vectors = ops.expand_dims(table, 0)  # (1, 2 span, hidden_size)
        reach = c.max_tokens - 1
        rows = ops.constant(distance_rows(reach, c.buckets, c.far))
        self.from_keys = ops.expand_dims(ops.embed(rows, distances(ops, index, reach)), 0, 1)  # (1, 1, key, query)
        self.from_queries = ops.transpose(self.from_keys, (0, 1, 3, 2))

    def scores(self, w: Scope, q: Handle, k: Handle, scale: float) -> Handle:
        """(B, H, T, T) to be added to what content with content scores, scaled."""
        ops, by = self.ops, self.ops.constant(np.float32(scale))
        total = None
        if _C2P in self.c.ways:  # a query with the distance to each key
            compared = ops.matmul(q, self._heads(w, "key_proj"), True)
            total = ops.gather_last(compared, self.from_queries) * by
        if _P2C in self.c.ways:  # a key with the distance to each query
            compared = ops.matmul(k, self._heads(w, "query_proj"), True)
            back = ops.transpose(ops.gather_last(compared, self.from_keys), (0, 1, 3, 2)) * by
            total = back if total is None else total + back
        return total

    def _heads(self, w: Scope, name: str) -> Handle:
        """Projected: the same for every text. A plain product, so that a backend may compute it once, whatever it does
        with the weights of layers that texts go through."""
        ops, width, s = self.ops, self.c.hidden_size, w.at(name if self.c.shared else f"pos_{name}")
        projected = ops.matmul(self.vectors, s.tensor("weight", width, width), True)
        return ops.split_heads(projected + ops.constant(s.tensor("bias", width)), self.c.heads)


@dataclass(frozen=True)
class _Head(Head):
    """Of DebertaV2ForSequenceClassification."""

    act: Unary


def parse_head(config: Mapping[str, Any]) -> _Head:
    """Read what the head is."""
    keys = Keys(config)
    width = keys.count("hidden_size")
    keys.refuse("pooler_hidden_size", width)
    return _Head(width, keys.activation("pooler_hidden_act"))


def classify(ops: Ops, w: Scope, c: Classifier, h: Handle, x: Mapping[str, Handle]) -> Handle:
    """DebertaV2ForSequenceClassification: the pooled first token, then a linear layer."""
    return encoder.first_token_scores(ops, w, c, h, x, c.head.act, ("pooler.dense", "classifier"))
