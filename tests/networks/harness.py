"""Compares a network of vicinal with the model of `transformers` that it stands for, on small random weights.

A test file makes cases and asks three questions of each:

    SMALL = dict(vocab_size=53, hidden_size=22, num_attention_heads=2, ...)         # odd and prime sizes

    def test_token_states(backend):
        case = harness.case(RobertaConfig, RobertaModel, **SMALL)
        assert harness.off(case, backend) < harness.CLOSE                           # the same numbers

    def test_a_planted_fault_is_seen():
        assert harness.off(case, config={"hidden_act": "gelu_new"}) > harness.SEEN  # of ours alone
        monkeypatch.setattr(roberta, "something", wrong)                            # or a fault in the code

    def test_every_tensor_matters():
        assert harness.unused(case) == ()

`case` builds a model with spread-out weights (`spread`); `batch` makes ragged feeds by the package's own batcher;
`theirs` runs each text by itself, without padding, at float64; `ours` runs the batch on a backend. `off` is the largest
difference at any real token, relative to the largest number. Configurations go through JSON as a `config.json` does;
`silent(case)` keeps only the keys that were given, so that what a silent configuration means is compared too.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vicinal.backends import Choice, compile_graph
from vicinal.backends.base import Bounds
from vicinal.loading.spec import Route, Transformer
from vicinal.loading.weights import Scope, Tensor
from vicinal.networks import find
from vicinal.networks.heads import graph
from vicinal.text.batches import padded
from vicinal.text.tokens import Tokens

Array = NDArray[Any]

BACKENDS = ("numpy", "openvino", "onnx")
CLOSE = 3e-5
"""Of the largest number: what float32 may be off from float64."""
SEEN = 3 * CLOSE
"""What a planted fault must be off at least; sound networks are off a hundredth of CLOSE at these sizes."""
LENGTHS = (7, 1, 11, 4)
INPUTS = frozenset(("ids", "types", "positions", "mask", "index", "pool", "first", "last"))


@dataclass(frozen=True, eq=False)
class Case:
    """A model of `transformers` with its `config.json` and its tensors, as a checkpoint has them."""

    model: Any
    config: Mapping[str, Any]
    tensors: Mapping[str, Array]
    given: frozenset[str] = frozenset()

    @property
    def network(self) -> Any:
        """The module of `vicinal.networks` that serves it."""
        found = find(self.config["model_type"])
        assert found is not None, self.config["model_type"]
        return found

    @property
    def parsed(self) -> Any:
        """What the network reads of the configuration."""
        return self.network.parse(self.config)


def case(config_class: Any, model_class: Any, seed: int = 0, scale: float = 1.5, **config: Any) -> Case:
    """A model with random weights, in float64, eager attention, nothing dropped out."""
    built = config_class(**config)
    built._attn_implementation = "eager"
    model = spread(model_class(built), seed, scale).double().eval()
    tensors = {name: tensor.float().numpy() for name, tensor in model.state_dict().items()}
    return Case(model, json.loads(built.to_json_string(use_diff=False)), tensors, frozenset(config))


def silent(c: Case) -> Case:
    """The case with a `config.json` of the keys that were given alone."""
    return replace(c, config={key: value for key, value in c.config.items() if key in {*c.given, "model_type"}})


def spread(model: Any, seed: int = 0, scale: float = 1.5) -> Any:
    """Give a model weights that matter, in float32: none at the value at which training begins.

    Vectors that multiply (norms) lie around 1, those that add (biases) around 0; matrices keep the size of what they
    multiply, times `scale`; tables of embeddings have entries of size 1.
    """
    rng = np.random.default_rng(seed)
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            shape = tuple(parameter.shape)
            values = rng.standard_normal(shape)
            if id(parameter) in embeddings:
                pass
            elif len(shape) > 1:
                values *= scale / np.prod(shape[1:]) ** 0.5
            elif name.endswith("bias"):
                values *= 0.5
            else:
                values = 1 + 0.3 * values
            parameter.copy_(torch.from_numpy(values))
    return model


def batch(
    c: Case, lengths: Sequence[int] = LENGTHS, *, seed: int = 1, ids: Sequence[Sequence[int]] | None = None
) -> dict[str, Array]:
    """Feeds of random texts of these lengths (or of these ids), padded by at least one more than they need.

    What the padding holds is random too: it must not matter. Row i is text i.
    """
    rng = np.random.default_rng(seed)
    rows = ids or [rng.integers(0, c.parsed.vocab_size, n) for n in lengths]
    sizes = np.array([len(row) for row in rows])
    flat = np.concatenate([np.asarray(row, np.int32) for row in rows])
    types = rng.integers(0, max(c.parsed.type_vocab_size, 1), len(flat)).astype(np.int32)
    starts = np.cumsum(sizes) - sizes
    tokens = Tokens(flat, types, starts, sizes, sizes, getattr(c.parsed, "padding_idx", None))
    ((order, feeds),) = padded(tokens, Bounds(1 << 30), INPUTS)
    back = np.argsort(order)
    feeds = {
        name: array[back] if len(array) == len(rows) and name != "index" else array for name, array in feeds.items()
    }
    feeds["ids"] = np.where(feeds["mask"], feeds["ids"], rng.integers(0, c.parsed.vocab_size, feeds["ids"].shape))
    feeds["ids"] = feeds["ids"].astype(np.int32)
    return feeds


def theirs(c: Case, feeds: Mapping[str, Array]) -> list[Array]:
    """Token states of each text as `transformers` has them: by itself, without padding, at float64."""
    states = []
    for ids, types, mask in zip(feeds["ids"], feeds["types"], feeds["mask"], strict=True):
        given = {"input_ids": torch.from_numpy(ids[mask])[None].long()}
        given["attention_mask"] = torch.ones_like(given["input_ids"])
        if c.parsed.type_vocab_size:
            given["token_type_ids"] = torch.from_numpy(types[mask])[None].long()
        with torch.no_grad():
            states.append(c.model(**given).last_hidden_state[0].numpy())
    return states


def ours(
    c: Case,
    feeds: Mapping[str, Array],
    backend: str = "numpy",
    dtype: str = "float32",
    *,
    config: Mapping[str, Any] | None = None,
    tensors: Mapping[str, Array] | None = None,
) -> Array:
    """Token states (B, T, width) of the batch on a backend.

    Args:
        config: keys that replace those of the case.
        tensors: arrays that replace those of the case.
    """
    described = {**c.config, **(config or {})}
    arrays = {**c.tensors, **(tensors or {})}
    scope = Scope({f"/{name}": Tensor.of(name, array) for name, array in arrays.items()})
    transformer = Transformer(described["model_type"], described, c.network.parse(described))
    build = graph(Route((transformer,), ("",), None), scope, ("token_embeddings",))
    pending = compile_graph(build, Choice(backend, dtype, 1)).start(dict(feeds), True)  # type: ignore[arg-type]
    assert pending is not None
    states = pending.result()["token_embeddings"]
    assert states.dtype == np.float32
    return states


def difference(states: Array, wanted: Sequence[Array], feeds: Mapping[str, Array]) -> float:
    """The largest difference at any real token, relative to the largest number."""
    assert np.isfinite(states).all()
    scale = max(np.abs(rows).max() for rows in wanted)
    pairs = zip(states, feeds["mask"], wanted, strict=True)
    return float(max(np.abs(rows[mask] - right).max() for rows, mask, right in pairs) / scale)


def off(c: Case, backend: str = "numpy", feeds: Mapping[str, Array] | None = None, **changes: Any) -> float:
    """How far ours is off theirs; `changes` are those of `ours`."""
    feeds = batch(c) if feeds is None else feeds
    return difference(ours(c, feeds, backend, **changes), theirs(c, feeds), feeds)


def unused(c: Case, feeds: Mapping[str, Array] | None = None) -> tuple[str, ...]:
    """Tensors of the checkpoint that may change without ours changing: not read, or read and not used.

    Left out are the network's LEFTOVERS, and a bias of keys, which cancels in a softmax, where the name says so.
    """
    feeds = batch(c) if feeds is None else feeds
    before = ours(c, feeds)[feeds["mask"]]
    deaf = []
    for name, array in c.tensors.items():
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in c.network.LEFTOVERS):
            continue
        changed = array.copy()
        changed += 0.5 * np.random.default_rng(2).standard_normal(array.shape).astype(array.dtype)
        after = ours(c, feeds, tensors={name: changed})[feeds["mask"]]
        key_bias = name.endswith("bias") and any(part in name for part in (".key.", ".k.", ".k_lin.", ".k_proj."))
        if not key_bias and np.abs(after - before).max() / np.abs(before).max() < SEEN:
            deaf.append(name)
    return tuple(deaf)
