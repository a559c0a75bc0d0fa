"""Small random models of `transformers`, and what a network here makes of their weights."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vicinal import networks
from vicinal.backends import Choice, compile_graph
from vicinal.loading.spec import NetworkConfig, Route, Transformer
from vicinal.loading.weights import Scope, Tensor
from vicinal.networks.heads import graph

Array = NDArray[Any]
BACKENDS = ("numpy", "openvino", "onnx")
CLOSE = 3e-5
"""Of the largest number; the planted faults are ten times as large and more."""
LENGTHS = (23, 1, 17, 9)
VOCABULARY = 101


def model(config: Mapping[str, Any], seed: int = 0, kind: str = "AutoModel") -> Any:
    """The peer's model of a `config.json`, with weights spread so that norms, masks and windows matter."""
    import torch
    import transformers

    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stated, found = transformers.AutoConfig.for_model(**config), getattr(transformers, kind)
        made = (
            (found.from_config(stated, attn_implementation="eager") if kind.startswith("Auto") else found(stated))
            .eval()
            .float()
        )
    spread(made, seed)
    return made


def spread(module: Any, seed: int = 0) -> None:
    """Draw every parameter anew, norms and biases away from ones and zeros."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "norm" in name.lower() or "_ln" in name:
                centre = 1.0 if name.endswith("weight") and "Gemma" not in type(module).__name__ else 0.0
                parameter.copy_(centre + 0.4 * noise)
            elif parameter.ndim < 2:
                parameter.copy_(0.3 * noise)
            elif "embed" in name:
                parameter.copy_(noise)
            else:
                parameter.copy_(noise * 1.3 / parameter.shape[1] ** 0.5)


def feeds(lengths: Sequence[int] = LENGTHS, types: int = 0, seed: int = 1) -> dict[str, Array]:
    """Texts of random tokens, padded by one more than they need; what padding holds must not matter."""
    rng = np.random.default_rng(seed)
    index = np.arange(max(lengths) + 1, dtype=np.int32)
    ends = np.array(lengths, np.int32)
    shape, mask = (len(lengths), len(index)), index < ends[:, None]
    return {
        "ids": rng.integers(0, VOCABULARY, shape).astype(np.int32),
        "types": rng.integers(0, max(types, 1), shape).astype(np.int32),
        "mask": mask,
        "index": index,
        "pool": mask,
        "first": np.zeros_like(ends),
        "last": ends - 1,
    }


def expected(made: Any, x: Mapping[str, Array]) -> Array:
    """The peer's token states."""
    import torch

    inputs = {"input_ids": x["ids"].astype(np.int64), "attention_mask": x["mask"].astype(np.int64)}
    if getattr(made.config, "type_vocab_size", 0) and hasattr(made.embeddings, "token_type_embeddings"):
        inputs["token_type_ids"] = x["types"].astype(np.int64)
    with torch.no_grad():
        return np.asarray(made(**{k: torch.from_numpy(v) for k, v in inputs.items()}).last_hidden_state.numpy())


def tensors(made: Any) -> dict[str, Array]:
    """Its weights by name."""
    return {name: value.detach().numpy() for name, value in made.state_dict().items()}


def states(backend: str, kind: str, parsed: NetworkConfig, weights: Mapping[str, Array], x: dict[str, Array]) -> Array:
    """The network's token states; every tensor must have been read."""
    scope = Scope({f"/{name}": Tensor.of(name, array) for name, array in weights.items()})
    route = Route((Transformer(kind, {}, parsed),), ("",), None)
    program = compile_graph(graph(route, scope, ("token_embeddings",)), Choice(backend, "float32", 1))
    pending = program.start({name: x[name] for name in x}, True)
    assert pending is not None
    assert scope.unread() == []
    return pending.result()["token_embeddings"]


def off(found: Array, wanted: Array, mask: Array) -> float:
    """The largest difference at any real token, relative to the largest number."""
    assert np.isfinite(found).all()
    assert found.dtype == np.float32
    return float(np.abs(found - wanted)[mask].max() / np.abs(wanted[mask]).max())


@cache
def _case(items: tuple[tuple[str, Any], ...], lengths: tuple[int, ...]) -> tuple[Any, dict[str, Array], Array]:
    config = dict(items)
    made = model({key: _thawed(value) for key, value in config.items()})
    x = feeds(lengths, getattr(made.config, "type_vocab_size", 0) or 0)
    return made, x, expected(made, x)


def case(config: Mapping[str, Any], lengths: tuple[int, ...] = LENGTHS) -> tuple[Any, dict[str, Array], Array]:
    """(the peer's model, inputs, its token states) of a configuration, made once."""
    return _case(tuple((key, _frozen(value)) for key, value in config.items()), lengths)


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return ("{", *((key, _frozen(item)) for key, item in value.items()))
    return ("[", *map(_frozen, value)) if isinstance(value, list) else value


def _thawed(value: Any) -> Any:
    if isinstance(value, tuple):
        return {k: _thawed(v) for k, v in value[1:]} if value[0] == "{" else [_thawed(item) for item in value[1:]]
    return value


def compare(backend: str, config: Mapping[str, Any], lengths: tuple[int, ...] = LENGTHS) -> float:
    """How far the network is from the peer, read from the configuration as it stands and as the peer writes it."""
    made, x, wanted = case(config, lengths)
    kind = str(config["model_type"])
    network = networks.find(kind)
    assert network is not None
    parsed = network.parse(config)
    assert network.parse(made.config.to_dict()) == parsed
    return off(states(backend, kind, parsed, tensors(made), x), wanted, x["mask"])


def fault(config: Mapping[str, Any], wrong: NetworkConfig, lengths: tuple[int, ...] = LENGTHS) -> float:
    """How far a network with a fault in its configuration is from the peer."""
    made, x, wanted = case(config, lengths)
    return off(states("numpy", str(config["model_type"]), wrong, tensors(made), x), wanted, x["mask"])
