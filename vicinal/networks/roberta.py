"""RoBERTa (Liu et al. 2019, arXiv:1907.11692) and its kin: multilingual E5, BGE-M3, paraphrase-xlm-r, CamemBERT.

BERT's layers; a token's position is counted from `padding_idx + 1` over the tokens that are not the padding token.
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

MODEL_TYPES = ("roberta", "xlm-roberta", "camembert")
ANCHOR = "embeddings.word_embeddings.weight"
LEFTOVERS = (
    "embeddings.position_ids",
    "embeddings.token_type_ids",
    "pooler.*",
    "lm_head.*",
    "classifier.*",
    "qa_outputs.*",
)
PREFIX, HEAD = "roberta.", ("classifier.",)


@dataclass(frozen=True)
class Config(encoder.Config):
    """The keys of `config.json` that this network reads."""

    padding_idx: int

    @property
    def max_tokens(self) -> int:
        """The position table less the rows up to padding's."""
        return self.positions - self.padding_idx - 1


def parse(config: Mapping[str, Any]) -> Config:
    """Read a `config.json`; what this network cannot express is refused."""
    keys = Keys(config)
    parsed = Config(**encoder.common(keys), padding_idx=keys.whole("pad_token_id", 1))
    if parsed.max_tokens < 1:
        raise keys.damaged(
            f"max_position_embeddings {parsed.positions}, counted from pad_token_id {parsed.padding_idx}, leaves none "
            "for a token"
        )
    return parsed


def tokens(ops: Ops, w: Scope, c: Config, x: Mapping[str, Handle], only: Handle | None = None) -> Handle:
    """Token states (B, T, hidden_size); of the tokens `only` (B,) alone, (B, 1, hidden_size)."""
    e = w.at("embeddings")
    places = x["positions"] + ops.constant(np.int32(c.padding_idx))
    h = norm(ops, e, "LayerNorm", encoder.embeddings(ops, e, c, x, places), c.hidden_size, c.eps)
    bias = mask_bias(ops, x["mask"])
    return encoder.layers(ops, w.at("encoder.layer"), c, h, bias, only)


def first_token(ops: Ops, w: Scope, c: Config, x: Mapping[str, Handle]) -> Handle:
    """The state of the first token, (B, 1, hidden_size)."""
    return tokens(ops, w, c, x, x["first"])


def parse_head(config: Mapping[str, Any]) -> Head:
    """The head reads nothing of its own."""
    return Head.parse(config)


def classify(ops: Ops, w: Scope, c: Classifier, h: Handle, x: Mapping[str, Handle]) -> Handle:
    """RobertaForSequenceClassification: two linear layers on the first token."""
    return encoder.first_token_scores(ops, w.at("classifier"), c, h, x, "tanh")
