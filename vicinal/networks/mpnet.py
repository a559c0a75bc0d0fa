"""MPNet (Song et al. 2020, arXiv:2004.09297): all-mpnet-base-v2, multi-qa-mpnet-base and others.

BERT's layers without segments; positions as RoBERTa counts them; one table of numbers by distance for all layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vicinal.backends.base import Handle, Ops
from vicinal.loading.spec import Classifier
from vicinal.loading.weights import Scope
from vicinal.networks import encoder
from vicinal.networks.blocks import Head, Keys, mask_bias, norm
from vicinal.networks.relative import relative_bias

MODEL_TYPES = ("mpnet",)
ANCHOR = "embeddings.word_embeddings.weight"
LEFTOVERS = ("embeddings.position_ids", "pooler.*", "lm_head.*", "classifier.*", "qa_outputs.*")
PREFIX, HEAD = "mpnet.", ("classifier.",)

_PADDING, _BUCKETS, _FAR = 1, 32, 128
"""What the model was made with; its implementation reads none of them from a configuration."""
_NAMES = encoder.Names(
    query="attention.attn.q",
    key="attention.attn.k",
    value="attention.attn.v",
    out="attention.attn.o",
    attention_norm="attention.LayerNorm",
)


@dataclass(frozen=True)
class Config(encoder.Config):
    """The keys of `config.json` that this network reads."""

    padding_idx: int = _PADDING

    @property
    def max_tokens(self) -> int:
        """The position table less the rows up to padding's."""
        return self.positions - self.padding_idx - 1


def parse(config: Mapping[str, Any]) -> Config:
    """Read a `config.json`; what this network cannot express is refused."""
    keys = Keys(config)
    keys.refuse("relative_attention_num_buckets", _BUCKETS)
    parsed = Config(**{**encoder.common(keys), "type_vocab_size": 0})
    if parsed.max_tokens < 1:
        raise keys.damaged(f"max_position_embeddings {parsed.positions} leaves none for a token")
    return parsed


def tokens(ops: Ops, w: Scope, c: Config, x: Mapping[str, Handle]) -> Handle:
    """Token states (B, T, hidden_size)."""
    e = w.at("embeddings")
    places = x["positions"] + ops.constant(np.int32(c.padding_idx))
    h = norm(ops, e, "LayerNorm", encoder.embeddings(ops, e, c, x, places), c.hidden_size, c.eps)
    table = w.tensor("encoder.relative_attention_bias.weight", _BUCKETS, c.heads)
    bias = mask_bias(ops, x["mask"]) + relative_bias(ops, x["index"], table, _BUCKETS, _FAR)
    for i in range(c.layers):
        h = encoder.layer(ops, w.at(f"encoder.layer.{i}"), c, h, bias, _NAMES)
    return h


def parse_head(config: Mapping[str, Any]) -> Head:
    """The head reads nothing of its own."""
    return Head.parse(config)


def classify(ops: Ops, w: Scope, c: Classifier, h: Handle, x: Mapping[str, Handle]) -> Handle:
    """MPNetForSequenceClassification: two linear layers on the first token."""
    return encoder.first_token_scores(ops, w.at("classifier"), c, h, x, "tanh")
