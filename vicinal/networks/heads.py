"""From token states to the text's vector: pooling, dense, layer norm, normalise; and static embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from vicinal import networks
from vicinal.backends.base import Build, Handle, Ops, Unary
from vicinal.errors import UnsupportedModel
from vicinal.loading.exported import Exported
from vicinal.loading.spec import (
    Classifier,
    Custom,
    Dense,
    LayerNorm,
    LogitScore,
    Module,
    Normalize,
    Pooling,
    Route,
    StaticEmbedding,
    Transformer,
)
from vicinal.loading.weights import Scope, Tensor
from vicinal.networks.blocks import LOWEST, dense, norm

_LONGEST = 1 << 17
"""Positions that weightedmean has weights for; no model's limit is beyond."""


def graph(route: Route, weights: Scope, outputs: tuple[str, ...]) -> Build:
    """The whole model as one graph: token ids to the features named in `outputs`.

    Args:
        weights: of all modules, each under its folder.
        outputs: of "token_embeddings" (B, T, width), "sentence_embedding" (B, dims) and "scores" (B, labels).
    """

    def build(ops: Ops, x: Mapping[str, Handle]) -> dict[str, Handle]:
        features: dict[str, Handle] = {}
        if outputs == ("scores",) and (scores := first_token_scores(ops, weights, route, x)) is not None:
            return {"scores": scores}
        for module, folder in zip(route.modules, route.folders, strict=True):
            _apply(ops, weights.at(folder, "/"), module, features, x)
        return {name: features[name] for name in outputs}

    return build


def first_token_scores(ops: Ops, weights: Scope, route: Route, x: Mapping[str, Handle]) -> Handle | None:
    """Scores (B, labels) of a head that reads the first token's state alone: the last layer makes no other, which is
    most of its work. None of other heads."""
    body, head = route.modules[0], route.modules[-1]
    if not isinstance(body, Transformer) or not isinstance(head, Classifier) or len(route.modules) > 2:
        return None
    network = networks.narrowing(body.architecture)
    if network is None:
        return None
    w = weights.at(route.folders[0], "/")
    h, at = network.first_token(ops, w, body.network, x), x["first"]
    classifying = cast(networks.Classifying, network)
    return classifying.classify(ops, w, head, h, {"first": at - at})  # of the one row that there is


def after_tokens(route: Route, weights: Scope) -> Build:
    """What comes after the token states, which are `x["states"]`: pooling and the modules behind it."""
    first = next(i for i, module in enumerate(route.modules) if isinstance(module, Pooling))

    def build(ops: Ops, x: Mapping[str, Handle]) -> dict[str, Handle]:
        features = {"token_embeddings": x["states"]}
        for module, folder in zip(route.modules[first:], route.folders[first:], strict=True):
            _apply(ops, weights.at(folder, "/"), module, features, x)
        return {"sentence_embedding": features["sentence_embedding"]}

    return build


def _apply(ops: Ops, w: Scope, module: Module, features: dict[str, Handle], x: Mapping[str, Handle]) -> None:
    if isinstance(module, Exported):
        features["token_embeddings"] = x["states"]
    elif isinstance(module, Transformer):
        network = cast(networks.Network, networks.find(module.architecture))
        features["token_embeddings"] = network.tokens(ops, w, module.network, x)
    elif isinstance(module, Classifier):
        classifying = cast(networks.Classifying, networks.find(module.architecture))
        features["scores"] = classifying.classify(ops, w, module, features["token_embeddings"], x)
    elif isinstance(module, LogitScore):
        features["scores"] = logit_score(ops, w, module, features["token_embeddings"], x)
    elif isinstance(module, StaticEmbedding):
        features["token_embeddings"] = static(ops, w, module, x["ids"])
        features["sentence_embedding"] = pool(ops, "mean", features["token_embeddings"], x)
    elif isinstance(module, Pooling):
        parts = [pool(ops, mode, features["token_embeddings"], x) for mode in module.modes]
        features["sentence_embedding"] = parts[0] if len(parts) == 1 else ops.concat(parts, -1)
    elif isinstance(module, Dense):
        source = features[module.source]
        y = dense(ops, w, "linear", source, module.in_features, module.out_features, module.bias)
        y = y if module.activation == "identity" else ops.unary(cast(Unary, module.activation), y)
        if module.residual and module.in_features != module.out_features:
            source = dense(ops, w, "residual", source, module.in_features, module.out_features, bias=False)
        features[module.target] = y + source if module.residual else y
    elif isinstance(module, LayerNorm):
        source = features["sentence_embedding"]
        features["sentence_embedding"] = norm(ops, w, "norm", source, module.width, 1e-5)
    elif isinstance(module, Normalize):
        features[module.target] = ops.normalize(features[module.source])
    elif isinstance(module, Custom):  # what is left, a Dropout, does nothing outside training
        raise UnsupportedModel(module.reason)


def logit_score(ops: Ops, w: Scope, module: LogitScore, h: Handle, x: Mapping[str, Handle]) -> Handle:
    """Scores (B, 1) from token states (B, T, D): two rows of the matrix of logits are all that is needed of it."""
    name = "embed_tokens.weight" if module.tied else "lm_head.weight"
    table = w.tensor(name, module.tokens, module.width)
    row = table.rows(np.array([module.true_token]))
    if module.false_token is not None:
        row = row - table.rows(np.array([module.false_token]))
    return ops.linear(ops.gather_token(h, x["last"]), Tensor.of(name, row.astype(np.float32)))


def static(ops: Ops, w: Scope, module: StaticEmbedding, ids: Handle) -> Handle:
    """A vector a token: `embedding.weight`, times `embedding.scale` (a number a token) where int8 rows have one."""
    vectors = ops.embed(w.tensor("embedding.weight", module.tokens, module.width), ids)
    scale = w.find("embedding.scale", module.tokens, 1)
    return vectors if scale is None else vectors * ops.embed(scale, ids)


def pool(ops: Ops, mode: str, h: Handle, x: Mapping[str, Handle]) -> Handle:
    """One vector a text (B, D) from token states (B, T, D); only tokens that x["pool"] marks count.

    A text without tokens, which some tokenizers make of "", has zeros for its last token's state.
    """
    one, zero = ops.constant(np.float32(1)), ops.constant(np.float32(0))
    if mode == "cls":
        return ops.gather_token(h, x["first"])
    if mode == "lasttoken":
        there = ops.where(ops.expand_dims(x["mask"], 2), one, zero)
        return ops.gather_token(h, x["last"]) * ops.gather_token(there, x["last"])
    counted = ops.expand_dims(x["pool"], 2)
    if mode == "max":
        return ops.squeeze(ops.reduce("max", ops.where(counted, h, ops.constant(LOWEST)), 1), 1)
    weight = ops.where(counted, one, zero)
    if mode == "weightedmean":  # SGPT: a token weighs as much as its place, from 1
        places: Any = np.arange(1, _LONGEST + 1, dtype=np.float32)[:, None]
        weight = weight * ops.expand_dims(ops.embed(ops.constant(places), x["index"]), 0)
    total = ops.reduce("sum", h * weight, 1)
    count = ops.reduce("sum", weight, 1)
    count = ops.where(ops.less_equal(count, ops.constant(np.float32(1e-9))), ops.constant(np.float32(1e-9)), count)
    return ops.squeeze(total / (ops.unary("sqrt", count) if mode == "mean_sqrt_len_tokens" else count), 1)
