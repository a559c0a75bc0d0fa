"""T5's encoder and mT5's against `transformers`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.networks import harness
from tests.networks.harness import BACKENDS, CLOSE, SEEN, Case
from vicinal.errors import DamagedModel, UnsupportedModel
from vicinal.networks import find, relative, t5

transformers = pytest.importorskip("transformers")

SMALL: dict[str, Any] = {
    "vocab_size": 53, "d_model": 22, "d_kv": 7, "num_heads": 3, "num_layers": 2, "d_ff": 37,
}  # fmt: skip


def make(kind: str = "T5", **changes: Any) -> Case:
    classes = (getattr(transformers, f"{kind}{part}") for part in ("Config", "EncoderModel"))
    return harness.case(*classes, **{**SMALL, **changes})


CONFIGS: list[dict[str, Any]] = [
    {},
    {"feed_forward_proj": "gated-gelu"},
    {"feed_forward_proj": "gated-silu", "d_kv": 8, "num_heads": 1},
    {"feed_forward_proj": "gelu", "num_heads": 5},
    {"layer_norm_epsilon": 1e-3, "num_layers": 3},
    {"relative_attention_num_buckets": 8, "relative_attention_max_distance": 7},
    {"relative_attention_num_buckets": 5, "relative_attention_max_distance": 2, "num_layers": 1},
]


def name(config: Any) -> str:
    return "-".join(f"{key}={value}" for key, value in config.items()) or "plain"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["T5", "MT5"])
@pytest.mark.parametrize("config", CONFIGS, ids=name)
def test_token_states(config: dict[str, Any], kind: str, backend: str) -> None:
    assert harness.off(make(kind, **config), backend) < CLOSE


@pytest.mark.parametrize("backend", BACKENDS)
def test_longer_texts(backend: str) -> None:
    """Beyond the farthest distance; no text is too long."""
    c = make()
    assert c.parsed.max_tokens is None
    assert harness.off(c, backend, harness.batch(c, (301, 1, 129, 57))) < CLOSE


@pytest.mark.parametrize("kind", ["T5", "MT5"])
def test_a_silent_configuration(kind: str) -> None:
    c = harness.silent(make(kind))
    assert c.config.keys() == SMALL.keys() | {"model_type"}
    assert harness.off(c) < CLOSE


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        ({}, {"feed_forward_proj": "gelu"}),
        ({"feed_forward_proj": "gated-gelu"}, {"feed_forward_proj": "gated-relu"}),
        ({"feed_forward_proj": "gelu"}, {"feed_forward_proj": "gelu_new"}),
        ({"layer_norm_epsilon": 1e-3}, {"layer_norm_epsilon": 1e-6}),
        ({}, {"relative_attention_max_distance": 20}),
        ({}, {"num_layers": 1}),
    ],
)
def test_a_planted_fault_is_seen(config: dict[str, Any], fault: dict[str, Any]) -> None:
    c = make(**config)
    assert harness.off(c, feeds=harness.batch(c, (23, 1, 40)), config=fault) > SEEN


Wrong = Callable[..., Any]


@pytest.mark.parametrize(
    ("fault", "module", "part", "wrong"),
    [
        ("query to key", relative, "buckets", lambda right: lambda count, far: right(count, far)[::-1]),
        ("distances one off", relative, "buckets", lambda right: lambda count, far: np.roll(right(count, far), 1)),
        ("none far", relative, "distances", lambda right: lambda ops, index, reach: right(ops, index, 3)),
        ("no distances", t5, "relative_bias", lambda _: lambda ops, *rest: ops.constant(np.float32(0))),
        ("no mask", t5, "mask_bias", lambda _: lambda ops, mask: ops.constant(np.float32(0))),
    ],
)
def test_a_fault_in_the_code_is_seen(
    fault: str, module: Any, part: str, wrong: Wrong, monkeypatch: pytest.MonkeyPatch
) -> None:
    c = make()
    monkeypatch.setattr(module, part, wrong(getattr(module, part)))
    assert harness.off(c) > SEEN, fault


@pytest.mark.parametrize("config", [{}, {"feed_forward_proj": "gated-gelu"}], ids=name)
def test_every_tensor_matters(config: dict[str, Any]) -> None:
    assert harness.unused(make(**config)) == ()


@pytest.mark.parametrize("kept", ["shared.weight", "encoder.embed_tokens.weight"])
def test_the_table_of_words_by_either_name(kept: str) -> None:
    c = make()
    tensors = {key: array for key, array in c.tensors.items() if "embed_tokens" not in key and "shared" not in key}
    other = Case(c.model, c.config, {**tensors, kept: c.tensors["shared.weight"]})
    assert harness.off(other) < CLOSE


def test_a_checkpoint_with_its_decoder_is_read() -> None:
    """As `transformers` writes it: what no encoder needs is a known leftover."""
    import fnmatch

    tensors = transformers.T5ForConditionalGeneration(transformers.T5Config(**SMALL)).state_dict()
    body = set(make().tensors)
    assert t5.ANCHOR in tensors
    for tensor in tensors:
        assert tensor in body or any(fnmatch.fnmatchcase(tensor, pattern) for pattern in t5.LEFTOVERS), tensor


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"is_decoder": True}, UnsupportedModel, "is_decoder=True"),
        ({"feed_forward_proj": "double-gelu"}, UnsupportedModel, "'double-gelu' is neither an activation nor a gated"),
        ({"feed_forward_proj": "gated-mish"}, UnsupportedModel, "feed_forward_proj='mish' is no activation"),
        ({"d_kv": 0}, DamagedModel, "d_kv must be positive, not 0"),
        ({"relative_attention_num_buckets": 3}, DamagedModel, "num_buckets 3, a quarter must be 1 or more"),
        ({"relative_attention_max_distance": 8}, DamagedModel, "less than relative_attention_max_distance 8"),
    ],
)
def test_a_configuration_that_is_refused(change: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text) as caught:
        t5.parse({"model_type": "t5", **SMALL, **change})
    assert "config.json of this t5 model" in str(caught.value)
    assert find("t5") is find("mt5") is t5
