"""BERT against a version of it in plain NumPy at float64, on both backends; poolings against loops over tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests import tiny
from vicinal.backends import Choice, compile_graph
from vicinal.errors import DamagedModel, UnsupportedModel
from vicinal.loading.spec import POOLING_MODES, Dense, LayerNorm, Module, Normalize, Pooling, Route, Transformer
from vicinal.loading.weights import Scope, Tensor
from vicinal.networks import bert, find, known
from vicinal.networks.heads import graph

Array = NDArray[Any]
BACKENDS = ("openvino", "onnx", "numpy")
CLOSE = 1e-5
"""Of the largest number, what float32 may be off from float64; the planted faults are tens of times as large."""
LENGTHS = (7, 1, 5)
WIDTH = tiny.WIDTH
GELU_TANH = math.sqrt(2 / math.pi)

ACTIVATIONS = {
    "gelu": lambda v: v / 2 * math.erfc(-v / math.sqrt(2)),
    "gelu_new": lambda v: v / 2 * (1 + math.tanh(GELU_TANH * (v + 0.044715 * v**3))),
    "relu": lambda v: max(v, 0.0),
    "silu": lambda v: v / (1 + math.exp(-v)),
}


def feeds(seed: int = 1, prompt: int = 0) -> dict[str, Array]:
    """Texts of LENGTHS tokens, padded by one more than they need; what padding holds must not matter."""
    rng = np.random.default_rng(seed)
    shape = (len(LENGTHS), max(LENGTHS) + 1)
    index = np.arange(shape[1], dtype=np.int32)
    mask = index < np.array(LENGTHS)[:, None]
    lengths = np.array(LENGTHS, np.int32)
    return {
        "ids": rng.integers(0, len(tiny.VOCABULARY), shape).astype(np.int32),
        "types": rng.integers(0, tiny.TYPES, shape).astype(np.int32),
        "mask": mask,
        "index": index,
        "pool": mask & (index >= prompt),
        "first": np.where(lengths > prompt, prompt, 0).astype(np.int32),
        "last": lengths - 1,
    }


def reference(
    w: Mapping[str, Array], c: Mapping[str, Any], x: Mapping[str, Array], mask: bool = True, eps: float | None = None
) -> list[Array]:
    """Token states of each text by itself, without padding, straight from Devlin et al. (2019) at float64."""

    def linear(name: str, h: Array) -> Array:
        return h @ w[f"{name}.weight"].astype(float).T + w[f"{name}.bias"]

    def norm(name: str, h: Array) -> Array:
        centred = h - h.mean(-1, keepdims=True)
        size = np.sqrt((centred**2).mean(-1, keepdims=True) + (c["layer_norm_eps"] if eps is None else eps))
        return centred / size * w[f"{name}.weight"] + w[f"{name}.bias"]

    activate = np.vectorize(ACTIVATIONS[c["hidden_act"]], otypes=[float])
    states = []
    for row, length in enumerate(LENGTHS):
        end = length if mask else len(x["index"])
        h = sum(
            w[f"embeddings.{name}_embeddings.weight"].astype(float)[ids[:end]]
            for name, ids in (("word", x["ids"][row]), ("token_type", x["types"][row]), ("position", x["index"]))
        )
        h = norm("embeddings.LayerNorm", h)
        for layer in range(c["num_hidden_layers"]):
            at = f"encoder.layer.{layer}"
            q, k, v = (linear(f"{at}.attention.self.{part}", h) for part in ("query", "key", "value"))
            size, mixed = WIDTH // c["num_attention_heads"], np.zeros_like(h)
            for head in range(c["num_attention_heads"]):
                part = slice(head * size, head * size + size)
                scores = np.exp(q[:, part] @ k[:, part].T / math.sqrt(size))
                mixed[:, part] = scores / scores.sum(1, keepdims=True) @ v[:, part]
            h = norm(f"{at}.attention.output.LayerNorm", h + linear(f"{at}.attention.output.dense", mixed))
            m = linear(f"{at}.output.dense", activate(linear(f"{at}.intermediate.dense", h)))
            h = norm(f"{at}.output.LayerNorm", h + m)
        states.append(h[:length])
    return states


def run(
    backend: str,
    x: dict[str, Array],
    config: Mapping[str, Any] = tiny.CONFIG,
    heads: tuple[Module, ...] = (),
    more: Mapping[str, Array] | None = None,
    weights: Mapping[str, Array] | None = None,
    output: str = "token_embeddings",
) -> Array:
    """One output of the tiny BERT followed by some heads, each head's tensors under "{number}/"."""
    arrays = {f"/{name}": array for name, array in (weights or tiny.bert_tensors()).items()} | dict(more or {})
    scope = Scope({name: Tensor.of(name, array) for name, array in arrays.items()})
    modules = (Transformer("bert", config, bert.parse(config)), *heads)
    route = Route(modules, ("", *(str(i + 1) for i in range(len(heads)))), None)
    program = compile_graph(graph(route, scope, (output,)), Choice(backend, "float32", 1))
    pending = program.start(x, True)
    assert pending is not None
    return pending.result()[output]


def off(states: Array, wanted: list[Array]) -> float:
    """The largest difference at any real token, relative to the largest number."""
    assert np.isfinite(states).all()
    assert states.dtype == np.float32
    scale = max(np.abs(rows).max() for rows in wanted)
    return float(max(np.abs(states[i, : len(rows)] - rows).max() for i, rows in enumerate(wanted)) / scale)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("act", ACTIVATIONS)
@pytest.mark.parametrize("heads", [1, 2, 11, 22])
def test_token_states(backend: str, act: str, heads: int) -> None:
    config = {**tiny.CONFIG, "hidden_act": act, "num_attention_heads": heads}
    x = feeds()
    assert off(run(backend, x, config), reference(tiny.bert_tensors(), config, x)) < CLOSE


@pytest.mark.parametrize(
    ("fault", "config", "options"),
    [
        ("the other gelu", {"hidden_act": "gelu_new"}, {}),
        ("silu", {"hidden_act": "silu"}, {}),
        ("no mask", {}, {"mask": False}),
        ("eps 1e-12 for 1e-3", {}, {"eps": 1e-12}),
        ("one layer less", {"num_hidden_layers": 1}, {}),
        ("one head", {"num_attention_heads": 1}, {}),
    ],
)
def test_a_planted_fault_is_seen(fault: str, config: dict[str, Any], options: dict[str, Any]) -> None:
    x = feeds()
    wrong = reference(tiny.bert_tensors(), {**tiny.CONFIG, **config}, x, **options)
    assert off(run("openvino", x), wrong) > 20 * CLOSE, fault


@pytest.mark.parametrize("name", [name for name in tiny.bert_tensors() if "key.bias" not in name])
def test_every_tensor_matters(name: str) -> None:
    """A tensor that is read but not used would pass every other test with zeros. (A key's bias cancels in softmax.)"""
    x, changed = feeds(), tiny.bert_tensors()
    changed[name].flat[::3] += 0.5
    wanted = reference(tiny.bert_tensors(), tiny.CONFIG, x)
    assert off(run("numpy", x, weights=changed), wanted) > 20 * CLOSE
    assert off(run("numpy", x, weights=changed), reference(changed, tiny.CONFIG, x)) < CLOSE


@pytest.mark.parametrize("backend", BACKENDS)
def test_padding_says_nothing(backend: str) -> None:
    x = feeds()
    changed = dict(x, ids=np.where(x["mask"], x["ids"], 5).astype(np.int32))
    wanted, found = run(backend, x), run(backend, changed)
    assert (changed["ids"] != x["ids"]).any()
    np.testing.assert_array_equal(found[x["mask"]], wanted[x["mask"]])


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_old_names_of_norms(backend: str) -> None:
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): array
        for name, array in tiny.bert_tensors().items()
    }
    x = feeds()
    np.testing.assert_array_equal(run(backend, x, weights=old), run(backend, x))


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"position_embedding_type": "relative_key"}, UnsupportedModel, r"position_embedding_type='relative_key'"),
        ({"is_decoder": True}, UnsupportedModel, r"is_decoder=True is not handled here, only False"),
        ({"add_cross_attention": True}, UnsupportedModel, r"add_cross_attention=True"),
        ({"hidden_act": "mish"}, UnsupportedModel, r"hidden_act='mish' is no activation.*gelu, gelu_python"),
        ({"hidden_act": None}, UnsupportedModel, r"hidden_act=None"),
        ({"hidden_act": ["gelu"]}, UnsupportedModel, r"hidden_act=\['gelu'\]"),
        ({"num_attention_heads": 3}, DamagedModel, r"hidden_size 22 is no multiple of num_attention_heads 3"),
        ({"hidden_size": "22"}, DamagedModel, r"hidden_size must be .*, not '22'"),
        ({"hidden_size": True}, DamagedModel, r"hidden_size must be .*, not True"),
        ({"num_hidden_layers": 2.0}, DamagedModel, r"num_hidden_layers must be .*, not 2.0"),
        ({"num_attention_heads": 0}, DamagedModel, r"num_attention_heads must be .*, not 0"),
        ({"vocab_size": -1}, DamagedModel, r"vocab_size must be .*, not -1"),
        ({"max_position_embeddings": None}, DamagedModel, r"max_position_embeddings must be .*, not None"),
        ({"type_vocab_size": 1.5}, DamagedModel, r"type_vocab_size must be .*, not 1.5"),
        ({"layer_norm_eps": "1e-12"}, DamagedModel, r"layer_norm_eps must be .*, not '1e-12'"),
        ({"layer_norm_eps": True}, DamagedModel, r"layer_norm_eps must be .*, not True"),
        ({"layer_norm_eps": math.nan}, DamagedModel, r"layer_norm_eps must be .*, not nan"),
        ({"layer_norm_eps": -1.0}, DamagedModel, r"layer_norm_eps must be .*, not -1.0"),
    ],
)  # fmt: skip
def test_a_configuration_that_is_refused(change: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text) as caught:
        bert.parse({**tiny.CONFIG, **change})
    assert "config.json" in str(caught.value)


@pytest.mark.parametrize("key", ["vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
                                 "intermediate_size", "max_position_embeddings"])  # fmt: skip
def test_a_key_that_must_be_there(key: str) -> None:
    config = {name: value for name, value in tiny.CONFIG.items() if name != key}
    with pytest.raises(DamagedModel, match=f"config.json of this bert model: {key} must be"):
        bert.parse(config)


def test_what_a_silent_configuration_means() -> None:
    silent = {k: v for k, v in tiny.CONFIG.items() if k not in ("hidden_act", "type_vocab_size", "layer_norm_eps")}
    parsed = bert.parse(silent)
    assert (parsed.act, parsed.type_vocab_size, parsed.eps) == ("gelu", 2, 1e-12)
    assert parsed == bert.parse({**silent, "position_embedding_type": None, "is_decoder": None})


def test_networks_are_found_by_model_type() -> None:
    assert find("bert") is bert
    assert find("no such network") is None
    assert "bert" in known()
    assert known() == sorted(known())


# ---- heads ---------------------------------------------------------------------------------------------------------


def pooled(mode: str, states: Array, prompt: int) -> list[float]:
    """One text's vector from its tokens, by loops."""
    width = states.shape[1]
    counted = list(range(prompt, len(states)))
    if mode == "cls":
        return states[prompt if len(states) > prompt else 0].tolist()
    if mode == "lasttoken":
        return states[-1].tolist()
    if mode == "max":
        return [max((float(states[t, i]) for t in counted), default=-1e30) for i in range(width)]
    weights = {t: t + 1.0 if mode == "weightedmean" else 1.0 for t in counted}
    total = sum(weights.values())
    divisor = max(math.sqrt(total) if mode == "mean_sqrt_len_tokens" else total, 1e-9)
    return [sum(weights[t] * float(states[t, i]) for t in counted) / divisor for i in range(width)]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("prompt", [0, 3])
@pytest.mark.parametrize("mode", POOLING_MODES)
def test_pooling(mode: str, prompt: int, backend: str) -> None:
    """With a prompt of three tokens, the text of one token has nothing that counts."""
    x = feeds(prompt=prompt)
    states = reference(tiny.bert_tensors(), tiny.CONFIG, x)
    wanted = np.array([pooled(mode, rows, prompt) for rows in states])
    found = run(backend, x, heads=(Pooling(WIDTH, (mode,)),), output="sentence_embedding")
    assert found.shape == (len(LENGTHS), WIDTH)
    np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_several_poolings_stand_side_by_side_in_the_order_given(backend: str) -> None:
    x, modes = feeds(), ("max", "cls", "mean")
    states = reference(tiny.bert_tensors(), tiny.CONFIG, x)
    wanted = np.array([[v for mode in modes for v in pooled(mode, rows, 0)] for rows in states])
    found = run(backend, x, heads=(Pooling(WIDTH, modes),), output="sentence_embedding")
    np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-5)


CLS = Pooling(WIDTH, ("cls",))
RNG = np.random.default_rng(5)
SQUARE, NARROW, SKIP = (RNG.standard_normal(shape).astype("f4") for shape in ((WIDTH, WIDTH), (13, WIDTH), (13, WIDTH)))
LONG, SHORT = (RNG.standard_normal(n).astype("f4") for n in (WIDTH, 13))


def column(activation: str, v: float) -> float:
    known = {**ACTIVATIONS, "identity": float, "tanh": math.tanh, "sigmoid": lambda v: 1 / (1 + math.exp(-v))}
    return known[activation](v)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("activation", "residual", "narrow", "bias"), [
    *((activation, False, True, True) for activation in ("identity", "tanh", "relu", "gelu", "silu", "sigmoid")),
    ("tanh", False, False, True), ("tanh", True, False, True), ("tanh", True, True, True), ("tanh", False, True, False),
])  # fmt: skip
def test_dense(activation: str, residual: bool, narrow: bool, bias: bool, backend: str) -> None:
    matrix, shift = (NARROW, SHORT) if narrow else (SQUARE, LONG)
    tensors = {"2/linear.weight": matrix}
    tensors |= {"2/linear.bias": shift} if bias else {}
    tensors |= {"2/residual.weight": SKIP} if residual and narrow else {}
    x = feeds()
    module = Dense(WIDTH, len(matrix), bias, activation, residual)
    found = run(backend, x, heads=(CLS, module), more=tensors, output="sentence_embedding")
    wanted = []
    for rows in reference(tiny.bert_tensors(), tiny.CONFIG, x):
        first = rows[0]
        y = [column(activation, float(row @ first + (shift[i] if bias else 0))) for i, row in enumerate(matrix)]
        skipped = (SKIP @ first if narrow else first) if residual else np.zeros(len(matrix))
        wanted.append(np.array(y) + skipped)
    np.testing.assert_allclose(found, np.array(wanted), rtol=3e-5, atol=3e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_dense_over_tokens(backend: str) -> None:
    """A Dense may stand before the pooling and read and write the token vectors."""
    x = feeds()
    module = Dense(WIDTH, 13, activation="tanh", source="token_embeddings", target="token_embeddings")
    tensors = {"1/linear.weight": NARROW, "1/linear.bias": SHORT}
    found = run(backend, x, heads=(module, Pooling(13)), more=tensors, output="sentence_embedding")
    states = reference(tiny.bert_tensors(), tiny.CONFIG, x)
    wanted = np.array([np.mean(np.tanh(rows @ NARROW.T + SHORT), 0) for rows in states])
    np.testing.assert_allclose(found, wanted, rtol=3e-5, atol=3e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_layer_norm_and_normalize(backend: str) -> None:
    x = feeds()
    tensors = {"2/norm.weight": LONG, "2/norm.bias": SQUARE[0]}
    states = reference(tiny.bert_tensors(), tiny.CONFIG, x)
    first = np.stack([rows[0] for rows in states])
    centred = first - first.mean(1, keepdims=True)
    normed = centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5) * LONG + SQUARE[0]
    heads = (CLS, LayerNorm(WIDTH))
    found = run(backend, x, heads=heads, more=tensors, output="sentence_embedding")
    np.testing.assert_allclose(found, normed, rtol=3e-5, atol=3e-5)
    found = run(backend, x, heads=(*heads, Normalize()), more=tensors, output="sentence_embedding")
    np.testing.assert_allclose(found, normed / np.linalg.norm(normed, axis=1, keepdims=True), rtol=3e-5, atol=3e-5)


def test_tokens_that_a_head_does_not_need_are_not_asked_for() -> None:
    """cls pooling reads `first`, mean pooling `pool`; no graph asks for `positions`, which BERT does not read."""
    tensors = {f"/{name}": Tensor.of(name, array) for name, array in tiny.bert_tensors().items()}
    inputs = {}
    for mode in ("cls", "mean", "lasttoken"):
        route = Route(
            (Transformer("bert", tiny.CONFIG, bert.parse(tiny.CONFIG)), Pooling(WIDTH, (mode,))), ("", "1"), None
        )
        build = graph(route, Scope(tensors), ("sentence_embedding",))
        found = {backend: compile_graph(build, Choice(backend, "float32", 1)).inputs for backend in BACKENDS}
        assert found["openvino"] == found["numpy"]
        inputs[mode] = found["numpy"] - {"ids", "types", "mask", "index"}
    assert inputs == {"cls": {"first"}, "mean": {"pool"}, "lasttoken": {"last"}}
