"""Llama, Mistral, Qwen2, Qwen3 and EuroBERT against `transformers`, on both backends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.networks.rotary_reference import BACKENDS, CLOSE, VOCABULARY, case, compare, fault, off, states, tensors
from vicinal.errors import DamagedModel, UnsupportedModel
from vicinal.networks import decoder, find
from vicinal.networks.rotary import FULL, SLIDING

BASE = {"vocab_size": VOCABULARY, "hidden_size": 30, "num_hidden_layers": 2, "num_attention_heads": 3,
        "intermediate_size": 37, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1,
        "eos_token_id": 2}  # fmt: skip
LONG = (130, 1, 64, 77)


def of(kind: str, **more: Any) -> dict[str, Any]:
    extra = {"mask_token_id": 3} if kind == "eurobert" else {}
    return {"model_type": kind, **BASE, "num_key_value_heads": 1, **extra, **more}


FIRST_SLIDES = of("qwen2", sliding_window=3, use_sliding_window=True, layer_types=[SLIDING, FULL])
BIASED = of("llama", num_key_value_heads=3, attention_bias=True, mlp_bias=True, rms_norm_eps=1e-3)
NORMED = of("qwen3", head_dim=6, num_key_value_heads=3, attention_bias=True, sliding_window=6, use_sliding_window=True,
            max_window_layers=1)  # fmt: skip

CONFIGS = [
    of("llama"),
    BIASED,
    of("llama", num_key_value_heads=None, rope_theta=500.0, hidden_act="gelu"),
    of("llama", head_dim=14, num_hidden_layers=3, is_causal=False),
    of("llama", hidden_size=22, num_attention_heads=1, hidden_act="gelu_pytorch_tanh"),
    of("mistral", sliding_window=5),
    of("mistral", sliding_window=1, num_hidden_layers=1),
    of("mistral", sliding_window=4096, rope_theta=10000.0),
    of("mistral", sliding_window=None, head_dim=14),
    of("mistral", sliding_window=4, is_causal=False),
    of("mistral", hidden_size=40, num_attention_heads=4, num_key_value_heads=2, sliding_window=7, hidden_act="relu"),
    of("qwen2", sliding_window=131072, max_window_layers=28, use_sliding_window=False),
    of("qwen2", sliding_window=5, max_window_layers=1, use_sliding_window=True),
    of("qwen2", sliding_window=5, max_window_layers=0, use_sliding_window=True, is_causal=False),
    FIRST_SLIDES,
    of("qwen3", head_dim=14),
    NORMED,
    of("eurobert"),
    of("eurobert", num_key_value_heads=3, attention_bias=True, mlp_bias=True, rope_theta=250000),
]  # fmt: skip


def name(config: dict[str, Any]) -> str:
    return "-".join(str(value) for key, value in config.items() if key not in BASE or value != BASE[key])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("config", CONFIGS, ids=name)
def test_token_states(config: dict[str, Any], backend: str) -> None:
    assert compare(backend, config) < CLOSE


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "config", [of("mistral", sliding_window=50), of("qwen3", head_dim=14), of("eurobert")], ids=name
)
def test_longer_texts(config: dict[str, Any], backend: str) -> None:
    assert compare(backend, {**config, "max_position_embeddings": 140}, LONG) < CLOSE


Config = decoder.Config

WINDOW = of("mistral", sliding_window=5)
BOTH = of("mistral", sliding_window=4, is_causal=False)
FAULTS: list[tuple[str, dict[str, Any], Callable[[Config], Config]]] = [
    ("a window one too wide", WINDOW, lambda c: replace(c, reach=5)),
    ("a window one too narrow", WINDOW, lambda c: replace(c, reach=3)),
    ("a window of both sides one too wide", BOTH, lambda c: replace(c, reach=5)),
    ("a window of both sides one too narrow", BOTH, lambda c: replace(c, reach=3)),
    ("no window", WINDOW, lambda c: replace(c, kinds=(FULL, FULL))),
    ("the other layer slides", FIRST_SLIDES, lambda c: replace(c, kinds=(FULL, SLIDING))),
    ("sees both ways", of("llama"), lambda c: replace(c, causal=False)),
    ("sees only back", of("eurobert"), lambda c: replace(c, causal=True)),
    ("turned the other way", of("llama"), lambda c: replace(c, rope=replace(c.rope, frequencies=_back(c)))),
    ("another theta", of("qwen2"), lambda c: replace(c, rope=decoder.parse(of("qwen2", rope_theta=9000.0)).rope)),
    ("not turned", of("llama"), lambda c: replace(c, rope=replace(c.rope, frequencies=(0.0,) * 5))),
    ("the other gelu", of("llama", hidden_act="gelu"), lambda c: replace(c, act="gelu_tanh")),
    ("eps of another size", of("llama", rms_norm_eps=1e-3), lambda c: replace(c, eps=1e-6)),
]  # fmt: skip


def _back(c: Config) -> tuple[float, ...]:
    return tuple(-f for f in c.rope.frequencies)


@pytest.mark.parametrize(("_", "config", "wrong"), FAULTS, ids=[name for name, _, _ in FAULTS])
def test_a_planted_fault_is_seen(_: str, config: dict[str, Any], wrong: Callable[[Config], Config]) -> None:
    assert fault(config, wrong(decoder.parse(config))) > 10 * CLOSE


def test_neighbours_turned_together_are_not_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs of dimensions (0, 1), (2, 3), ... instead of (0, 5), (1, 6), ...: the other convention."""

    def turning(ops: Any, rope: Any, index: Any, positions: int) -> Any:
        angle = np.repeat(np.outer(index, rope.frequencies), 2, -1).astype(np.float32)

        def turn(x: Any) -> Any:
            swapped = np.stack([-x[..., 1::2], x[..., 0::2]], -1).reshape(x.shape)
            return x * np.cos(angle) + swapped * np.sin(angle)

        return turn

    monkeypatch.setattr(decoder, "turning", turning)
    assert fault(of("llama"), decoder.parse(of("llama"))) > 10 * CLOSE


@pytest.mark.parametrize("config", [BIASED, of("qwen2"), NORMED], ids=["llama", "qwen2", "qwen3"])
def test_every_tensor_matters(config: dict[str, Any]) -> None:
    """A tensor that is read but not used would pass every other test. (Without rotation a key's bias would cancel.)"""
    made, x, wanted = case(config)
    for tensor in tensors(made):
        changed = {name: array.copy() for name, array in tensors(made).items()}
        changed[tensor].flat[::7] += 0.5
        found = states("numpy", config["model_type"], decoder.parse(config), changed, x)
        assert off(found, wanted, x["mask"]) > 10 * CLOSE, tensor


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("config", [WINDOW, BOTH, of("llama"), of("eurobert")], ids=name)
def test_padding_says_nothing(config: dict[str, Any], backend: str) -> None:
    made, x, _ = case(config)
    changed = {**x, "ids": np.where(x["mask"], x["ids"], 5).astype(np.int32)}
    assert (changed["ids"] != x["ids"]).any()
    one, other = (states(backend, config["model_type"], decoder.parse(config), tensors(made), y) for y in (x, changed))
    np.testing.assert_array_equal(one[x["mask"]], other[x["mask"]])


@pytest.mark.parametrize(
    ("config", "error", "text"),
    [
        (of("llama", hidden_act="mish"), UnsupportedModel, "hidden_act='mish' is no activation"),
        (of("llama", use_bidirectional_attention=True), UnsupportedModel, "use_bidirectional_attention=True"),
        (
            of("llama", layer_types=[FULL, SLIDING]),
            UnsupportedModel,
            "llama model: layer_types are not handled here, only full_attention",
        ),
        (
            of("mistral", layer_types=[FULL, SLIDING]),
            UnsupportedModel,
            "mistral model: layer_types are not handled here, only sliding_attention",
        ),
        (of("qwen3", layer_types=[FULL, "chunked_attention"]), UnsupportedModel, "the kind 'chunked_attention'"),
        (of("qwen3", layer_types=[FULL]), DamagedModel, "a kind for each of 2 layers"),
        (of("qwen3", layer_types=[FULL, SLIDING]), DamagedModel, "layers slide, but there is no sliding_window"),
        (of("qwen2", max_window_layers=-1), DamagedModel, "max_window_layers must be 0 or more, not -1"),
        (of("llama", is_causal=None), DamagedModel, "is_causal must be true or false, not None"),
        (of("llama", num_key_value_heads=2), DamagedModel, "num_attention_heads 3 is no multiple of .* 2"),
        (of("llama", hidden_size=31), DamagedModel, "hidden_size 31 is no multiple of num_attention_heads 3"),
        (of("llama", head_dim=9), DamagedModel, "heads of even width, not 9"),
        (of("llama", head_dim="9"), DamagedModel, "head_dim must be positive, not '9'"),
        (of("mistral", sliding_window=0), DamagedModel, "sliding_window must be positive, not 0"),
        (of("llama", rms_norm_eps=0), DamagedModel, "rms_norm_eps must be a positive number, not 0"),
    ],
)
def test_a_configuration_that_is_refused(config: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text) as caught:
        decoder.parse(config)
    assert "config.json" in str(caught.value)


def test_what_a_silent_configuration_means() -> None:
    for kind, heads, width in (("llama", 64, 2), ("mistral", 8, 2), ("qwen2", 32, 2), ("qwen3", 32, 128)):
        config = {key: value for key, value in of(kind, hidden_size=128, num_attention_heads=64).items()
                  if key != "num_key_value_heads"}  # fmt: skip
        parsed = decoder.parse(config)
        assert (parsed.key_heads, parsed.head_width, parsed.act, parsed.causal) == (heads, width, "silu", True)
        assert parsed.reach == (4095 if kind == "mistral" else None)
    assert all(find(kind) is decoder for kind in decoder.MODEL_TYPES)
