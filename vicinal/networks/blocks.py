"""What several networks share: reading configurations, masks, activations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
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
    """Reads a `config.json` key by key; what is absent or of another kind is an error that names it.

    Args:
        kind: the model's type for messages; None takes it from the configuration.
    """

    def __init__(self, config: Mapping[str, Any], kind: str | None = None) -> None:
        self._config = config
        self.kind = str(config.get("model_type") if kind is None else kind)

    def damaged(self, what: str) -> DamagedModel:
        """The error of a configuration that makes no sense."""
        return DamagedModel(f"config.json of this {self.kind} model: {what}")

    def unsupported(self, what: str) -> UnsupportedModel:
        """The error of a configuration that a network cannot express."""
        return UnsupportedModel(f"config.json of this {self.kind} model: {what}")

    def count(self, key: str, default: int | None = None) -> int:
        """A positive whole number."""
        value = self._config.get(key, default)
        if type(value) is not int or value <= 0:
            raise self.damaged(f"{key} must be positive, not {value!r}")
        return value

    def whole(self, key: str, default: int) -> int:
        """0 or a positive whole number."""
        value = self._config.get(key, default)
        if type(value) is not int or value < 0:
            raise self.damaged(f"{key} must be 0 or more, not {value!r}")
        return value

    def share(self, width: str, parts: str) -> int:
        """One positive whole number divided by another, which it must be a multiple of."""
        whole, count = self.count(width), self.count(parts)
        if whole % count:
            raise self.damaged(f"{width} {whole} is no multiple of {parts} {count}")
        return whole // count

    def optional(self, key: str, default: int | None = None) -> int | None:
        """A positive whole number, or None where the file says null; `default` where it says nothing."""
        return None if self._config.get(key, default) is None else self.count(key, default)

    def flag(self, key: str, default: bool) -> bool:
        """true or false."""
        value = self._config.get(key, default)
        if not isinstance(value, bool):
            raise self.damaged(f"{key} must be true or false, not {value!r}")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A positive number."""
        value = self._config.get(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
            raise self.damaged(f"{key} must be a positive number, not {value!r}")
        return float(value)

    def some(self, key: str) -> float | None:
        """A positive number, or None where the file says null, 0 or nothing."""
        return self.number(key) if self._config.get(key) else None

    def sequence(self, key: str) -> list[Any] | None:
        """A list, or None where the file says null or nothing."""
        value = self._config.get(key)
        if value is not None and not isinstance(value, list):
            raise self.damaged(f"{key} must be a list or null, not {value!r}")
        return value

    def below(self, key: str) -> Mapping[str, Any]:
        """An object; {} where the file says null or nothing."""
        value = self._config.get(key)
        if value is not None and not isinstance(value, Mapping):
            raise self.damaged(f"{key} must be an object or null, not {value!r}")
        return value or {}

    def activation(self, key: str, default: str = "gelu") -> Unary:
        """One of ACTIVATIONS."""
        value = self._config.get(key, default)
        if not isinstance(value, str) or value not in ACTIVATIONS:
            raise self.unsupported(f"{key}={value!r} is no activation that is handled ({', '.join(ACTIVATIONS)})")
        return ACTIVATIONS[value]

    def refuse(self, key: str, *allowed: Any) -> None:
        """The key must be absent or have one of these values: this network cannot express another."""
        value = self._config.get(key, allowed[0])
        if value not in allowed:
            raise self.unsupported(f"{key}={value!r} is not handled here, only {' or '.join(map(repr, allowed))}")

    def demand(self, key: str, *allowed: str) -> str:
        """The key must be there, with one of these values."""
        value = self._config.get(key)
        if value not in allowed:
            raise self.unsupported(f"{key}={value!r} is not handled here, only {' or '.join(map(repr, allowed))}")
        return str(value)


@dataclass(frozen=True)
class Head:
    """What every classification head reads of a `config.json`."""

    hidden_size: int

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> Head:
        """Read it."""
        return cls(Keys(config).count("hidden_size"))


def dense(
    ops: Ops, w: Scope, name: str, x: Handle, width_in: int, width_out: int, bias: bool = True, spared: bool = False
) -> Handle:
    """The linear layer `name`, (..., width_in) to (..., width_out); `spared` as the primitive has it."""
    s = w.at(name)
    weight, shift = s.tensor("weight", width_out, width_in), s.tensor("bias", width_out) if bias else None
    return ops.linear(x, weight, shift, spared)


def norm(ops: Ops, w: Scope, name: str, x: Handle, width: int, eps: float) -> Handle:
    """The layer normalisation `name`; old checkpoints call its tensors gamma and beta."""
    s = w.at(name)
    if (gamma := s.find("gamma", width)) is not None:
        return ops.layer_norm(x, gamma, s.tensor("beta", width), eps)
    return ops.layer_norm(x, s.tensor("weight", width), s.tensor("bias", width), eps)


def average(ops: Ops, x: Handle, mask: Handle) -> Handle:
    """(B, D): the mean of (B, T, D) over the tokens that are there."""
    there = ops.where(ops.expand_dims(mask, 2), ops.constant(np.float32(1)), ops.constant(np.float32(0)))
    return ops.squeeze(ops.reduce("sum", x * there, 1) / ops.reduce("sum", there, 1), 1)


def mask_bias(ops: Ops, mask: Handle) -> Handle:
    """(B, T) tokens that are there to (B, 1, 1, T): 0 for them, LOWEST for padding."""
    return ops.where(ops.expand_dims(mask, 1, 2), ops.constant(np.float32(0)), ops.constant(LOWEST))
