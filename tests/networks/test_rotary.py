"""Rotary positions: frequencies of every scaling against `transformers`, and what rotation and windows must hold."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.networks.rotary_reference import BACKENDS, CLOSE, VOCABULARY, compare, fault
from vicinal.backends import Choice, compile_graph
from vicinal.backends.numpy import NumpyOps
from vicinal.errors import DamagedModel, UnsupportedModel
from vicinal.networks import decoder
from vicinal.networks.blocks import LOWEST, Keys
from vicinal.networks.rotary import LONGEST, Rope, read_rope, turning, visible

BASE = {"model_type": "llama", "vocab_size": VOCABULARY, "hidden_size": 72, "num_hidden_layers": 2,
        "num_attention_heads": 3, "num_key_value_heads": 1, "intermediate_size": 37, "max_position_embeddings": 64,
        "rope_theta": 700.0, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip

SCALINGS: list[dict[str, Any]] = [
    {"rope_type": "default"},
    {"type": "linear", "factor": 3.0},
    {"rope_type": "linear", "factor": 2},
    {"rope_type": "dynamic", "factor": 4.0},
    {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
     "original_max_position_embeddings": 32},
    {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 0.5, "high_freq_factor": 9.0,
     "original_max_position_embeddings": 500},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
    {"type": "yarn", "factor": 4.0},
    {"rope_type": "yarn", "factor": 4.0, "attention_factor": 0.7, "beta_fast": 12, "beta_slow": 2,
     "original_max_position_embeddings": 200},
    {"rope_type": "yarn", "factor": 40.0, "mscale": 0.8, "mscale_all_dim": 1.3, "truncate": False,
     "original_max_position_embeddings": 90},
    {"rope_type": "yarn", "factor": None, "original_max_position_embeddings": 16},
    {"rope_type": "yarn", "factor": 0.5, "original_max_position_embeddings": 700},
]  # fmt: skip


def name(scaling: dict[str, Any]) -> str:
    return "-".join(str(value) for value in scaling.values())


@pytest.mark.parametrize("scaling", SCALINGS, ids=name)
def test_frequencies(scaling: dict[str, Any]) -> None:
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = LlamaRotaryEmbedding(LlamaConfig(**{**BASE, "rope_scaling": dict(scaling)}))
    found = decoder.parse({**BASE, "rope_scaling": scaling}).rope
    np.testing.assert_allclose(found.frequencies, peer.inv_freq.numpy(), rtol=3e-6)
    assert found.scale == pytest.approx(peer.attention_scaling, rel=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("scaling", SCALINGS, ids=name)
def test_token_states(scaling: dict[str, Any], backend: str) -> None:
    assert compare(backend, {**BASE, "rope_scaling": scaling}, (60, 3, 41)) < CLOSE


@pytest.mark.parametrize(
    ("scaling", "wrong"),
    [
        (SCALINGS[1], {"type": "linear", "factor": 3.1}),
        (SCALINGS[4], {**SCALINGS[4], "high_freq_factor": 4.5}),
        (SCALINGS[4], {**SCALINGS[4], "original_max_position_embeddings": 33}),
        (SCALINGS[6], {**SCALINGS[6], "attention_factor": 1.0}),
        (SCALINGS[6], {**SCALINGS[6], "original_max_position_embeddings": 40}),
        (SCALINGS[9], {**SCALINGS[9], "truncate": True}),
    ],
)
def test_a_scaling_that_is_a_little_off_is_seen(scaling: dict[str, Any], wrong: dict[str, Any]) -> None:
    config = {**BASE, "rope_scaling": scaling}
    assert fault(config, decoder.parse({**BASE, "rope_scaling": wrong}), (60, 3, 41)) > 3 * CLOSE


def test_both_spellings_say_the_same() -> None:
    old = {**BASE, "rope_scaling": {"type": "linear", "factor": 3.0}}
    new = {key: value for key, value in BASE.items() if key != "rope_theta"}
    new["rope_parameters"] = {"rope_type": "linear", "factor": 3.0, "rope_theta": 700.0}
    assert decoder.parse(new) == decoder.parse(old)
    assert decoder.parse({**new, "rope_theta": 3.0}) == decoder.parse(old), "what stands inside wins"
    assert decoder.parse({**BASE, "rope_scaling": None}) == decoder.parse(BASE)
    assert decoder.parse({**BASE, "rope_parameters": {}}) == decoder.parse(BASE)


def test_only_what_changes_with_the_batch_bounds_the_texts() -> None:
    dynamic = decoder.parse({**BASE, "rope_scaling": {"type": "dynamic", "factor": 2.0}})
    assert not dynamic.stretches
    assert dynamic.rope.frequencies == decoder.parse(BASE).rope.frequencies
    assert decoder.parse(BASE).stretches
    assert decoder.parse({**BASE, "max_position_embeddings": 10**6}).max_tokens == LONGEST


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        *(({"rope_scaling": {"rope_type": kind, "factor": 2.0}}, UnsupportedModel,
           f"rotary positions of the kind '{kind}' are not handled here, only default, linear, dynamic, llama3, yarn")
          for kind in ("longrope", "proportional", "mrope", "su", "ntk")),
        ({"rope_scaling": {"rope_type": "default", "type": "mrope"}}, UnsupportedModel, "'default', but type 'mrope'"),
        ({"partial_rotary_factor": 0.5}, UnsupportedModel, "partial_rotary_factor=0.5"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, UnsupportedModel, "partial_rotary_factor=0.5"),
        ({"rope_scaling": "linear"}, DamagedModel, "rope_scaling must be an object or null, not 'linear'"),
        ({"rope_scaling": {"type": "linear"}}, DamagedModel, "factor must be a positive number, not None"),
        ({"rope_scaling": {"type": "linear", "factor": -1}}, DamagedModel, "factor must be a positive number, not -1"),
        ({"rope_scaling": {"type": "dynamic"}}, DamagedModel, "factor must be a positive number, not None"),
        ({"rope_scaling": {"type": "llama3", "factor": 2.0, "low_freq_factor": 1.0}}, DamagedModel, "high_freq_factor"),
        ({"rope_scaling": {"type": "llama3", "factor": 2.0, "low_freq_factor": 4.0, "high_freq_factor": 4.0}},
         DamagedModel, "low_freq_factor 4.0 must be less than high_freq_factor 4.0"),
        ({"rope_scaling": {"type": "yarn", "factor": 2.0, "truncate": 1}}, DamagedModel, "truncate must be true or"),
        ({"rope_theta": 1.0}, DamagedModel, "rope_theta must be more than 1, not 1.0"),
        ({"rope_theta": "big"}, DamagedModel, "rope_theta must be a positive number, not 'big'"),
        ({"head_dim": 7}, DamagedModel, "rotary positions need heads of even width, not 7"),
    ],
)  # fmt: skip
def test_positions_that_are_refused(change: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text) as caught:
        decoder.parse({**BASE, **change})
    assert "config.json of this llama model" in str(caught.value)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(0, 40), st.integers(0, 40), st.integers(0, 40), st.integers(0, 2**32 - 1))
def test_only_distances_matter(pairs: int, first: int, second: int, shift: int, seed: int) -> None:
    """The product of a query and a key is the same wherever both are moved, and lengths are kept."""
    rope = read_rope(Keys({}), {}, 2 * pairs, 128, 50.0)
    q, k = np.random.default_rng(seed).standard_normal((2, 2 * pairs)).astype(np.float32)

    def at(x: Any, *places: int) -> Any:
        turn = turning(NumpyOps(), rope, np.array(places, np.int32), 128)
        return turn(np.broadcast_to(x, (1, 1, len(places), len(x))))[0, 0]

    (q0, q1), (k0, k1) = at(q, first, first + shift), at(k, second, second + shift)
    assert q0 @ k0 == pytest.approx(q1 @ k1, abs=1e-4)
    assert np.linalg.norm(q1) == pytest.approx(np.linalg.norm(q), rel=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("reach", [None, 0, 1, 3, 6, 7, 100])
def test_what_is_visible(backend: str, causal: bool, reach: int | None) -> None:
    """Against loops over pairs of places; 8 positions, so that a reach of 7 and more has no bound."""
    lengths, positions = np.array([8, 5]), 8
    index = np.arange(8, dtype=np.int32)
    feeds = {"index": index, "mask": index < lengths[:, None]}

    def build(ops: Any, x: Any) -> Any:
        bias = visible(ops, x, positions, causal, reach)
        zero = ops.where(ops.expand_dims(ops.less_equal(x["index"], x["index"]), 0, 1), ops.constant(np.float32(0)),
                         ops.constant(np.float32(0)))  # fmt: skip
        return {"bias": zero if bias is None else bias + zero}

    program = compile_graph(build, Choice(backend, "float32", 1))
    pending = program.start({name: feeds[name] for name in program.inputs}, True)
    assert pending is not None
    found = np.broadcast_to(pending.result()["bias"], (2, 1, 8, 8))
    for text, length in enumerate(lengths):
        for query in range(length):
            for key in range(8):
                seen = key < length if not causal else key <= query
                seen = seen and (reach is None or abs(query - key) <= reach)
                assert (found[text, 0, query, key] == 0) == seen
                assert seen or found[text, 0, query, key] <= LOWEST


def test_the_table_is_made_once_and_shared() -> None:
    """NumPy's backend builds its graph at each batch."""
    from vicinal.networks.rotary import _tables

    rope = Rope((1.0, 0.1), 2.0)
    cosine, sine = _tables(rope, 5)
    assert _tables(Rope((1.0, 0.1), 2.0), 5)[0] is cosine
    assert cosine.shape == sine.shape == (5, 2)
    np.testing.assert_allclose(cosine.array, 2 * np.cos(np.outer(range(5), [1.0, 0.1])), atol=1e-6)
    np.testing.assert_allclose(sine.array, 2 * np.sin(np.outer(range(5), [1.0, 0.1])), atol=1e-6)
