"""ModernBERT against `transformers`, on both backends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.networks.rotary_reference import BACKENDS, CLOSE, VOCABULARY, case, compare, fault, off, states, tensors
from vicinal.errors import DamagedModel, UnsupportedModel
from vicinal.networks import find, modernbert
from vicinal.networks.rotary import FULL, SLIDING

BASE = {"model_type": "modernbert", "vocab_size": VOCABULARY, "hidden_size": 30, "num_hidden_layers": 4,
        "num_attention_heads": 3, "intermediate_size": 37, "max_position_embeddings": 64, "local_attention": 8,
        "global_attn_every_n_layers": 3, "global_rope_theta": 160000.0, "local_rope_theta": 10000.0,
        "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}  # fmt: skip
LONG = (130, 1, 64, 77)


def of(**more: Any) -> dict[str, Any]:
    return {key: value for key, value in {**BASE, **more}.items() if value is not None}


CONFIGS = [
    of(),
    of(local_attention=9),
    of(local_attention=128),
    of(local_attention=1, num_hidden_layers=2),
    of(attention_bias=True, mlp_bias=True, norm_bias=True),
    of(norm_bias=True, norm_eps=1e-3, hidden_activation="silu"),
    of(hidden_activation="gelu_pytorch_tanh", global_attn_every_n_layers=1),
    of(hidden_size=28, num_attention_heads=2, global_attn_every_n_layers=2, num_hidden_layers=3),
    of(hidden_size=22, num_attention_heads=11, local_rope_theta=50.0, global_rope_theta=7.0),
    of(rope_scaling={"rope_type": "linear", "factor": 2.5}),
    of(global_attn_every_n_layers=None, global_rope_theta=None, local_rope_theta=None,
       layer_types=[SLIDING, FULL, FULL, SLIDING],
       rope_parameters={FULL: {"rope_type": "default", "rope_theta": 300.0},
                        SLIDING: {"rope_type": "linear", "factor": 2.0, "rope_theta": 40.0}}),
]  # fmt: skip


def name(config: dict[str, Any]) -> str:
    return "-".join(f"{key}={value}" for key, value in config.items() if value != BASE.get(key)) or "plain"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("config", CONFIGS, ids=name)
def test_token_states(config: dict[str, Any], backend: str) -> None:
    assert compare(backend, config) < CLOSE


@pytest.mark.parametrize("backend", BACKENDS)
def test_longer_texts(backend: str) -> None:
    assert compare(backend, of(local_attention=32, max_position_embeddings=140), LONG) < CLOSE


Config = modernbert.Config

FAULTS: list[tuple[str, dict[str, Any], Callable[[Config], Config]]] = [
    ("a window one too wide", of(), lambda c: replace(c, reach=c.reach + 1)),
    ("a window one too narrow", of(), lambda c: replace(c, reach=c.reach - 1)),
    ("the whole window on either side", of(), lambda c: replace(c, reach=8)),
    ("the other layers slide", of(), lambda c: replace(c, kinds=(SLIDING, FULL, SLIDING, FULL))),
    ("thetas exchanged", of(), lambda c: replace(c, ropes={FULL: c.ropes[SLIDING], SLIDING: c.ropes[FULL]})),
    ("turned the other way", of(), lambda c: replace(c, ropes={k: replace(r, frequencies=tuple(
        -f for f in r.frequencies)) for k, r in c.ropes.items()})),
    ("the other gelu", of(), lambda c: replace(c, act="gelu_tanh")),
    ("eps of another size", of(norm_eps=1e-3), lambda c: replace(c, eps=1e-5)),
]  # fmt: skip


@pytest.mark.parametrize(("_", "config", "wrong"), FAULTS, ids=[name for name, _, _ in FAULTS])
def test_a_planted_fault_is_seen(_: str, config: dict[str, Any], wrong: Callable[[Config], Config]) -> None:
    assert fault(config, wrong(modernbert.parse(config))) > 10 * CLOSE


def test_every_tensor_matters() -> None:
    config = of(attention_bias=True, mlp_bias=True, norm_bias=True)
    made, x, wanted = case(config)
    for tensor in tensors(made):
        changed = {name: array.copy() for name, array in tensors(made).items()}
        changed[tensor].flat[::7] += 0.5
        found = states("numpy", "modernbert", modernbert.parse(config), changed, x)
        assert off(found, wanted, x["mask"]) > 10 * CLOSE, tensor


@pytest.mark.parametrize("backend", BACKENDS)
def test_padding_says_nothing(backend: str) -> None:
    made, x, _ = case(of())
    changed = {**x, "ids": np.where(x["mask"], x["ids"], 5).astype(np.int32)}
    one, other = (states(backend, "modernbert", modernbert.parse(of()), tensors(made), y) for y in (x, changed))
    np.testing.assert_array_equal(one[x["mask"]], other[x["mask"]])


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"hidden_activation": "mish"}, UnsupportedModel, "hidden_activation='mish'"),
        ({"layer_types": [FULL] * 3 + ["conv"]}, UnsupportedModel, "layers of the kind 'conv'"),
        ({"rope_scaling": {"rope_type": "su", "factor": 2.0}}, UnsupportedModel, "of the kind 'su'"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, UnsupportedModel, "'default', but type 'linear'"),
        ({"rope_parameters": {"rope_theta": 3.0}}, DamagedModel, "rope_parameters must be by kind of layer"),
        ({"rope_parameters": [3.0]}, DamagedModel, r"rope_parameters must be an object or null, not \[3.0\]"),
        ({"hidden_size": 31}, DamagedModel, "hidden_size 31 is no multiple of num_attention_heads 3"),
        ({"hidden_size": 27}, DamagedModel, "heads of even width, not 9"),
        ({"layer_types": FULL}, DamagedModel, "layer_types must be a list or null, not .full_attention."),
        ({"norm_bias": "yes"}, DamagedModel, "norm_bias must be true or false, not 'yes'"),
        ({"local_attention": 0}, DamagedModel, "local_attention must be positive, not 0"),
        ({"local_rope_theta": -1.0}, DamagedModel, "local_rope_theta must be a positive number, not -1.0"),
    ],
)
def test_a_configuration_that_is_refused(change: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text) as caught:
        modernbert.parse({**BASE, **change})
    assert "config.json" in str(caught.value)


def test_what_a_silent_configuration_means() -> None:
    silent = of(local_attention=None, global_attn_every_n_layers=None, global_rope_theta=None, local_rope_theta=None)
    assert modernbert.parse(silent) == modernbert.parse(of(local_attention=128))
    parsed = modernbert.parse(silent)
    assert (parsed.act, parsed.eps, parsed.reach, parsed.type_vocab_size) == ("gelu", 1e-5, 64, 0)
    assert parsed.kinds == (FULL, SLIDING, SLIDING, FULL)
    assert find("modernbert") is modernbert
