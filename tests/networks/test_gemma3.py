"""Gemma 3's text network against `transformers`, causal and seeing both ways, on both backends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.networks.rotary_reference import (
    BACKENDS,
    CLOSE,
    VOCABULARY,
    case,
    compare,
    fault,
    off,
    states,
    tensors,
)
from vicinal.errors import DamagedModel, UnsupportedModel
from vicinal.networks import find, gemma3
from vicinal.networks.rotary import FULL, SLIDING

BASE = {"model_type": "gemma3_text", "vocab_size": VOCABULARY, "hidden_size": 30, "num_hidden_layers": 3,
        "num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 14, "intermediate_size": 37,
        "max_position_embeddings": 64, "sliding_window": 6, "sliding_window_pattern": 2, "query_pre_attn_scalar": 17,
        "rope_theta": 1_000_000.0, "rope_local_base_freq": 10_000.0}  # fmt: skip


def of(**more: Any) -> dict[str, Any]:
    return {**BASE, **more}


BOTH = of(use_bidirectional_attention=True)
CONFIGS = [
    of(),
    BOTH,
    of(use_bidirectional_attention=True, sliding_window=7),
    of(is_causal=False),
    of(use_bidirectional_attention=True, is_causal=False),
    of(sliding_window=1),
    of(sliding_window=4096, use_bidirectional_attention=None),
    of(attention_bias=True, num_key_value_heads=3, head_dim=6, rms_norm_eps=1e-3),
    of(hidden_activation="gelu", layer_types=[FULL, SLIDING, SLIDING]),
    of(rope_theta=500.0, rope_local_base_freq=90.0, rope_scaling={"rope_type": "linear", "factor": 8.0}),
    of(rope_theta=None, rope_local_base_freq=None, rope_parameters={
        FULL: {"rope_type": "linear", "factor": 4.0, "rope_theta": 700.0},
        SLIDING: {"rope_type": "default", "rope_theta": 60.0},
    }),
]  # fmt: skip
CONFIGS = [{key: value for key, value in config.items() if not key.startswith("rope_") or value is not None}
           for config in CONFIGS]  # fmt: skip


def name(config: dict[str, Any]) -> str:
    return "-".join(f"{key}={value}" for key, value in config.items() if value != BASE.get(key)) or "plain"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("config", CONFIGS, ids=name)
def test_token_states(config: dict[str, Any], backend: str) -> None:
    assert compare(backend, config) < CLOSE


@pytest.mark.parametrize("backend", BACKENDS)
def test_longer_texts(backend: str) -> None:
    config = of(use_bidirectional_attention=True, sliding_window=32, max_position_embeddings=140)
    assert compare(backend, config, (130, 1, 64, 77)) < CLOSE


Config = gemma3.Config

FAULTS: list[tuple[str, dict[str, Any], Callable[[Config], Config]]] = [
    ("a window one too wide", of(), lambda c: replace(c, reach=c.reach + 1)),
    ("a window one too narrow", of(), lambda c: replace(c, reach=c.reach - 1)),
    ("half a window one too wide", BOTH, lambda c: replace(c, reach=c.reach + 1)),
    ("half a window one too narrow", BOTH, lambda c: replace(c, reach=c.reach - 1)),
    ("a window that is not halved", BOTH, lambda c: replace(c, reach=6)),
    ("sees both ways", of(), lambda c: replace(c, causal=False)),
    ("the other pattern", of(), lambda c: replace(c, kinds=(FULL, SLIDING, FULL))),
    ("one theta for all", of(), lambda c: replace(c, ropes=dict.fromkeys(c.ropes, c.ropes[FULL]))),
    ("scaled by the head's width", of(), lambda c: replace(c, scale=14**-0.5)),
    ("the other gelu", of(), lambda c: replace(c, act="gelu")),
]


@pytest.mark.parametrize(("_", "config", "wrong"), FAULTS, ids=[name for name, _, _ in FAULTS])
def test_a_planted_fault_is_seen(_: str, config: dict[str, Any], wrong: Callable[[Config], Config]) -> None:
    assert fault(config, wrong(gemma3.parse(config))) > 3 * CLOSE


def test_every_tensor_matters() -> None:
    config = of(attention_bias=True)
    made, x, wanted = case(config)
    for tensor in tensors(made):
        changed = {name: array.copy() for name, array in tensors(made).items()}
        changed[tensor].flat[::7] += 0.5
        found = states("numpy", "gemma3_text", gemma3.parse(config), changed, x)
        assert off(found, wanted, x["mask"]) > 10 * CLOSE, tensor


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"attn_logit_softcapping": 50.0}, UnsupportedModel, r"attn_logit_softcapping=50.0 is not handled here"),
        ({"use_bidirectional_attention": "all"}, UnsupportedModel, "use_bidirectional_attention='all'"),
        ({"hidden_activation": "quick_gelu"}, UnsupportedModel, "hidden_activation='quick_gelu'"),
        ({"layer_types": ["full_attention", "linear_attention", "full_attention"]}, UnsupportedModel,
         "kind 'linear_attention'"),
        ({"rope_scaling": {"rope_type": "longrope"}}, UnsupportedModel, "rotary positions of the kind 'longrope'"),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 1.0}}, DamagedModel, "must be by kind of layer"),
        ({"sliding_window": None}, DamagedModel, "sliding_window must be positive, not None"),
        ({"num_key_value_heads": 2}, DamagedModel, "num_attention_heads 3 is no multiple"),
        ({"is_causal": 1}, DamagedModel, "is_causal must be true or false, not 1"),
    ],
)  # fmt: skip
def test_a_configuration_that_is_refused(change: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text) as caught:
        gemma3.parse({**BASE, **change})
    assert "config.json" in str(caught.value)


def test_what_a_silent_configuration_means() -> None:
    kept = ("model_type", "vocab_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    parsed = gemma3.parse({key: BASE[key] for key in kept}
                          | {"hidden_size": 30, "num_attention_heads": 8, "max_position_embeddings": 64,
                             "num_hidden_layers": 7})  # fmt: skip
    assert (parsed.key_heads, parsed.head_width, parsed.act, parsed.reach) == (4, 256, "gelu_tanh", 4095)
    assert parsed.kinds == (SLIDING,) * 5 + (FULL, SLIDING)
    assert parsed.scale == 1 / 16
    assert parsed.causal
    assert find("gemma3_text") is gemma3
