"""What several networks share: reading configurations, masks, activations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from vicinal.backends.base import Handle, Ops, Unary
from vicinal.errors import DamagedModel, UnsupportedModel
from vicinal.loading.weights import Scope

LOWEST = np.float32(-1e30)
"""Added to the score of a token that must not be seen; finite, so that a row of nothing else stays finite."""

ACTIVATIONS: Mapping[str, Unary] = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
}


class Keys:
    """Reads a `config.json` key by key; what is absent or of another kind is an error that names it."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config
        self._kind = str(config.get("model_type"))

    def count(self, key: str, default: int | None = None, least: int = 1) -> int:
        """A whole number of at least `least`."""
        value = self._config.get(key, default)
        if type(value) is not int or value < least:
            wanted = "positive" if least == 1 else f"a whole number, {least} or more"
            raise DamagedModel(f"config.json of this {self._kind} model: {key} must be {wanted}, not {value!r}")
        return value

    def divided(self, width: str, heads: str) -> None:
        """One key must be a multiple of another."""
        if self._config[width] % self._config[heads]:
            raise DamagedModel(
                f"config.json: {width} {self._config[width]} is no multiple of {heads} {self._config[heads]}"
            )

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self._config.get(key, default)
        if not isinstance(value, bool):
            raise DamagedModel(f"config.json of this {self._kind} model: {key} must be true or false, not {value!r}")
        return value

    def number(self, key: str, default: float) -> float:
        """A positive number."""
        value = self._config.get(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
            raise DamagedModel(
                f"config.json of this {self._kind} model: {key} must be a positive number, not {value!r}"
            )
        return float(value)

    def activation(self, key: str, default: str = "gelu") -> Unary:
        """One of ACTIVATIONS."""
        value = self._config.get(key, default)
        if not isinstance(value, str) or value not in ACTIVATIONS:
            raise UnsupportedModel(
                f"config.json of this {self._kind} model: {key}={value!r} is no activation that is handled "
                f"({', '.join(ACTIVATIONS)})"
            )
        return ACTIVATIONS[value]

    def refuse(self, key: str, *allowed: Any) -> None:
        """The key must be absent or have one of these values: this network cannot express another."""
        value = self._config.get(key, allowed[0])
        if value not in allowed:
            raise UnsupportedModel(
                f"config.json of this {self._kind} model: {key}={value!r} is not handled here, only "
                f"{' or '.join(map(repr, allowed))}"
            )


def dense(ops: Ops, w: Scope, name: str, x: Handle, width_in: int, width_out: int, bias: bool = True) -> Handle:
    """The linear layer `name`, (..., width_in) to (..., width_out)."""
    s = w.at(name)
    return ops.linear(x, s.tensor("weight", width_out, width_in), s.tensor("bias", width_out) if bias else None)


def norm(ops: Ops, w: Scope, name: str, x: Handle, width: int, eps: float) -> Handle:
    """The layer normalisation `name`; old checkpoints call its tensors gamma and beta."""
    s = w.at(name)
    if (gamma := s.find("gamma", width)) is not None:
        return ops.layer_norm(x, gamma, s.tensor("beta", width), eps)
    return ops.layer_norm(x, s.tensor("weight", width), s.tensor("bias", width), eps)


def mask_bias(ops: Ops, mask: Handle) -> Handle:
    """(B, T) tokens that are there to (B, 1, 1, T): 0 for them, LOWEST for padding."""
    return ops.where(ops.expand_dims(mask, 1, 2), ops.constant(np.float32(0)), ops.constant(LOWEST))
