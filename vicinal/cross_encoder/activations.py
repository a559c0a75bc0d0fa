"""What a cross-encoder's raw scores go through, by the names that model folders state."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vicinal.errors import InvalidInput, UnsupportedModel

Scores = NDArray[np.float32]


def sigmoid(scores: Scores) -> Scores:
    """1 / (1 + exp(-x)), without overflow."""
    small = np.exp(-np.abs(scores))
    return np.asarray(np.where(scores >= 0, 1, small) / (1 + small))


def identity(scores: Scores) -> Scores:
    """The same."""
    return scores


def softplus(scores: Scores) -> Scores:
    """log(1 + exp(x)), without overflow."""
    return np.maximum(scores, 0) + np.log1p(np.exp(-np.abs(scores)))


def softmax(scores: Scores) -> Scores:
    """Over the last axis."""
    raised = np.exp(scores - scores.max(-1, keepdims=True))
    return np.asarray(raised / raised.sum(-1, keepdims=True))


def relu(scores: Scores) -> Scores:
    """max(x, 0)."""
    return np.maximum(scores, 0)


KNOWN: Mapping[str, Callable[[Scores], Scores]] = {
    "Sigmoid": sigmoid,
    "Identity": identity,
    "Tanh": np.tanh,
    "ReLU": relu,
    "Softplus": softplus,
    "LogSigmoid": lambda scores: -softplus(-scores),
}
"""By the last part of the name of torch's class."""
_TORCH = {
    "Sigmoid": "torch.nn.modules.activation.Sigmoid",
    "Identity": "torch.nn.modules.linear.Identity",
    "Tanh": "torch.nn.modules.activation.Tanh",
    "ReLU": "torch.nn.modules.activation.ReLU",
    "Softplus": "torch.nn.modules.activation.Softplus",
    "LogSigmoid": "torch.nn.modules.activation.LogSigmoid",
}


def by_name(stated: str) -> Callable[[Scores], Scores]:
    """The function of a dotted name.

    Raises:
        UnsupportedModel: it is none of `KNOWN`; the model's folder may name code, which is not run.
    """
    root, _, name = stated.rpartition(".")
    if name not in KNOWN or not (root == "" or root.split(".")[0] == "torch"):
        raise UnsupportedModel(
            f"the activation {stated!r} is not known ({', '.join(KNOWN)} are) and could be anybody's code: "
            "give it as activation_fn=, a function of the (n, labels) array of scores"
        )
    return KNOWN[name]


def name_of(function: Any) -> str:
    """What a saved model states for a function: torch's name for a known one, else its own."""
    for name, known in KNOWN.items():
        if function is known:
            return _TORCH[name]
    kind = function if hasattr(function, "__name__") else type(function)
    return f"{kind.__module__}.{kind.__qualname__}"


def resolve(function: Any) -> Callable[[Scores], Scores]:
    """A user's activation as a function of arrays: a name, torch's own class, module or function, or a callable.

    Raises:
        InvalidInput: it cannot be called.
    """
    if isinstance(function, str):
        return by_name(function)
    if isinstance(function, type) and function.__module__.startswith("torch."):
        function = function()
    if not callable(function):
        raise InvalidInput(f"activation_fn must be a function of the scores, not {type(function).__name__}")
    if not _is_torch(function):
        return lambda scores: np.asarray(function(scores), np.float32)
    if (known := KNOWN.get(type(function).__name__)) is not None and "torch.nn" in type(function).__module__:
        return known
    from vicinal.backends.torch.tensors import to_tensor

    return lambda scores: np.asarray(function(to_tensor(scores)).numpy(), np.float32)


def _is_torch(function: Any) -> bool:
    """Whether it takes tensors: a torch module, or a function of torch's own."""
    if any(kind.__module__.startswith("torch.") for kind in type(function).__mro__):
        return True
    torch = sys.modules.get("torch")
    name = getattr(function, "__name__", "")
    places = (torch, getattr(torch, "special", None), getattr(getattr(torch, "nn", None), "functional", None))
    return any(getattr(place, name, None) is function for place in places if place is not None and name)
