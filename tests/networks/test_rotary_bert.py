"""NomicBERT and GTE against `transformers`, in the spelling of each and of the code that the models came with."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.networks.rotary_reference import (
    BACKENDS,
    CLOSE,
    LENGTHS,
    VOCABULARY,
    Array,
    case,
    compare,
    expected,
    fault,
    feeds,
    off,
    states,
    tensors,
)
from vicinal.errors import DamagedModel, UnsupportedModel
from vicinal.networks import find, rotary_bert

BASE = {"vocab_size": VOCABULARY, "hidden_size": 30, "num_hidden_layers": 2, "num_attention_heads": 3,
        "intermediate_size": 37, "max_position_embeddings": 64, "pad_token_id": 0}  # fmt: skip


def of(kind: str, **more: Any) -> dict[str, Any]:
    return {"model_type": kind, **BASE, **more}


CONFIGS = [
    of("nomic_bert"),
    of("nomic_bert", type_vocab_size=3, layer_norm_eps=1e-3),
    of("nomic_bert", hidden_size=22, num_attention_heads=1, hidden_act="gelu", num_hidden_layers=3),
    of("nomic_bert", hidden_size=22, num_attention_heads=11, rope_parameters={"rope_theta": 50.0,
                                                                              "rope_type": "default"}),
    of("gte"),
    of("gte", type_vocab_size=0),
    of("gte", type_vocab_size=3, hidden_act="silu", layer_norm_eps=1e-3),
    of("gte", hidden_size=28, num_attention_heads=2, num_hidden_layers=1,
       rope_parameters={"rope_theta": 500.0, "rope_type": "linear", "factor": 1.3}),
]  # fmt: skip


def name(config: dict[str, Any]) -> str:
    return "-".join(str(value) for key, value in config.items() if value != BASE.get(key))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("config", CONFIGS, ids=name)
def test_token_states(config: dict[str, Any], backend: str) -> None:
    assert compare(backend, config) < CLOSE


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["nomic_bert", "gte"])
def test_longer_texts(kind: str, backend: str) -> None:
    assert compare(backend, of(kind, max_position_embeddings=140), (130, 1, 64, 77)) < CLOSE


Config = rotary_bert.Config

FAULTS: list[tuple[str, dict[str, Any], Callable[[Config], Config]]] = [
    ("turned the other way", of("nomic_bert"), lambda c: replace(c, rope=replace(
        c.rope, frequencies=tuple(-f for f in c.rope.frequencies)))),
    ("another theta", of("gte"), lambda c: replace(c, rope=rotary_bert.parse(of("gte", rope_theta=2e4)).rope)),
    ("the other gelu", of("gte"), lambda c: replace(c, act="gelu_tanh")),
    ("gelu for silu", of("nomic_bert"), lambda c: replace(c, act="gelu")),
    ("eps of another size", CONFIGS[1], lambda c: replace(c, eps=1e-12)),
]  # fmt: skip


@pytest.mark.parametrize(("_", "config", "wrong"), FAULTS, ids=[name for name, _, _ in FAULTS])
def test_a_planted_fault_is_seen(_: str, config: dict[str, Any], wrong: Callable[[Config], Config]) -> None:
    assert fault(config, wrong(rotary_bert.parse(config))) > 3 * CLOSE


@pytest.mark.parametrize("config", [CONFIGS[1], CONFIGS[6]], ids=["nomic_bert", "gte"])
def test_every_tensor_matters(config: dict[str, Any]) -> None:
    made, x, wanted = case(config)
    for tensor in tensors(made):
        changed = {name: array.copy() for name, array in tensors(made).items()}
        changed[tensor].flat[::7] += 0.5
        found = states("numpy", config["model_type"], rotary_bert.parse(config), changed, x)
        assert off(found, wanted, x["mask"]) > 10 * CLOSE, tensor


# ---- the spelling that the models came with ------------------------------------------------------------------------

NOMIC_OWN = {"model_type": "nomic_bert", "activation_function": "swiglu", "vocab_size": VOCABULARY, "n_embd": 30,
             "n_layer": 2, "n_head": 3, "n_inner": 37, "n_positions": 64, "type_vocab_size": 2, "causal": False,
             "layer_norm_epsilon": 1e-12, "prenorm": False, "use_rms_norm": False, "parallel_block": False,
             "qkv_proj_bias": False, "mlp_fc1_bias": False, "mlp_fc2_bias": False, "rotary_emb_base": 1000,
             "rotary_emb_fraction": 1.0, "rotary_emb_interleaved": False, "rotary_emb_scale_base": None,
             "rotary_scaling_factor": None, "max_trained_positions": 48, "pad_vocab_size_multiple": 1,
             "scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False}  # fmt: skip
GTE_OWN = {"model_type": "new", **BASE, "type_vocab_size": 1, "hidden_act": "gelu", "layer_norm_type": "layer_norm",
           "layer_norm_eps": 1e-12, "logn_attention_scale": False, "pack_qkv": True, "position_embedding_type": "rope",
           "rope_theta": 500, "rope_scaling": {"factor": 8.0, "type": "ntk"}}  # fmt: skip
# What 8 times the length means there: theta times 8, and every frequency by 8 ** (2 / 10).
GTE_SAME = of("gte", type_vocab_size=1, rope_parameters={"rope_type": "linear", "rope_theta": 4000.0,
                                                         "factor": 8.0**0.2})  # fmt: skip


def own_names(weights: dict[str, Array], renames: list[tuple[str, str]], packed: dict[str, list[str]]) -> Any:
    """Tensors under the names of the models' own code, matrices that it keeps as one joined."""
    found = dict(weights)
    for whole, parts in packed.items():
        for at in sorted({key.rpartition(parts[0])[0] for key in weights if f"{parts[0]}." in key}):
            for end in ("weight", "bias"):
                if f"{at}{parts[0]}.{end}" in found:
                    found[f"{at}{whole}.{end}"] = np.concatenate([found.pop(f"{at}{part}.{end}") for part in parts])
    for pattern, name in renames:
        found = {re.sub(pattern, name, key): array for key, array in found.items()}
    return found


def nomic_names(weights: dict[str, Array]) -> dict[str, Array]:
    renames = [
        (r"^layers\.", "encoder.layers."), (r"embeddings\.LayerNorm", "emb_ln"),
        (r"self_attn\.o_proj", "attn.out_proj"),
        ("self_attn", "attn"), ("up_proj", "fc11"), ("gate_proj", "fc12"), ("down_proj", "fc2"),
        ("post_attention_layernorm", "norm1"), ("post_mlp_layernorm", "norm2"),
    ]  # fmt: skip
    return own_names(weights, renames, {"Wqkv": ["q_proj", "k_proj", "v_proj"]})


def gte_names(weights: dict[str, Array]) -> dict[str, Array]:
    renames = [(r"^layers\.", "encoder.layer."), (r"self_attn\.", "attention."),
               ("post_attention_layernorm", "attn_ln"), ("post_mlp_layernorm", "mlp_ln")]  # fmt: skip
    packed = {"qkv_proj": ["q_proj", "k_proj", "v_proj"], "up_gate_proj": ["up_proj", "gate_proj"]}
    return own_names(weights, renames, packed)


OWN = [(of("nomic_bert"), NOMIC_OWN, nomic_names), (GTE_SAME, GTE_OWN, gte_names)]
BOTH_SPELLINGS = pytest.mark.parametrize(("config", "own", "names"), OWN, ids=["nomic", "gte"])


@BOTH_SPELLINGS
@pytest.mark.parametrize("backend", BACKENDS)
def test_token_states_in_the_models_own_spelling(config: Any, own: Any, names: Any, backend: str) -> None:
    made, x, wanted = case(config)
    parsed, weights = rotary_bert.parse(own), names(tensors(made))
    assert any("qkv" in key for key in weights)
    assert off(states(backend, own["model_type"], parsed, weights, x), wanted, x["mask"]) < CLOSE
    native = replace(parsed, rope=rotary_bert.parse(config).rope)
    assert native == rotary_bert.parse(config)
    np.testing.assert_allclose(parsed.rope.frequencies, native.rope.frequencies, rtol=1e-12)


@BOTH_SPELLINGS
def test_the_peer_reads_those_names_alike(config: Any, own: Any, names: Any, tmp_path: Path) -> None:
    """`transformers` converts the old names when it loads them: our reading of them is that of its conversion."""
    from transformers import AutoModel

    made, x, wanted = case(config)
    save_file(names(tensors(made)), tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text(json.dumps(made.config.to_dict()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = AutoModel.from_pretrained(tmp_path, attn_implementation="eager").eval()
    assert off(expected(loaded, x), wanted, x["mask"]) < 1e-6


@pytest.mark.parametrize("part", ["Wqkv", "fc1"])
def test_exchanged_parts_of_a_packed_matrix_are_seen(part: str) -> None:
    made, x, wanted = case(of("nomic_bert"))
    weights = nomic_names(tensors(made))
    for key in [key for key in weights if part in key]:
        if part == "Wqkv":
            weights[key] = np.roll(weights[key], 30, 0)
        elif "fc11" in key:
            weights[key], other = weights[key.replace("fc11", "fc12")], weights[key]
            weights[key.replace("fc11", "fc12")] = other
    found = states("numpy", "nomic_bert", rotary_bert.parse(NOMIC_OWN), weights, x)
    assert off(found, wanted, x["mask"]) > 10 * CLOSE


@pytest.mark.parametrize(("gate", "act"), [("swiglu", "silu"), ("geglu", "gelu"), ("glu", "sigmoid")])
def test_gates_of_nomic(gate: str, act: str) -> None:
    assert rotary_bert.parse({**NOMIC_OWN, "activation_function": gate}).act == act


def test_lengths_and_padded_vocabulary_of_nomic() -> None:
    parsed = rotary_bert.parse({**NOMIC_OWN, "pad_vocab_size_multiple": 64, "vocab_size": 65, "n_inner": None})
    assert (parsed.vocab_size, parsed.intermediate_size) == (128, 120)
    assert (parsed.max_tokens, parsed.stretches) == (64, True)
    scaled = rotary_bert.parse({**NOMIC_OWN, "rotary_scaling_factor": 2})
    assert (scaled.max_tokens, scaled.stretches) == (48, False)
    assert scaled.rope.frequencies == parsed.rope.frequencies


def test_ntk_that_makes_nothing_longer_changes_nothing() -> None:
    plain = rotary_bert.parse({**GTE_OWN, "rope_scaling": None}).rope
    assert rotary_bert.parse({**GTE_OWN, "rope_scaling": {"type": "ntk", "factor": 1.0}}).rope == plain
    assert rotary_bert.parse({**GTE_OWN, "rope_scaling": {"type": "ntk", "factor": 0.5}}).rope == plain


@pytest.mark.parametrize(
    ("config", "change", "error", "text"),
    [
        *((NOMIC_OWN, {key: True}, UnsupportedModel, f"{key}=True is not handled here, only False") for key in
          ("prenorm", "use_rms_norm", "parallel_block", "causal", "qkv_proj_bias", "mlp_fc1_bias", "mlp_fc2_bias",
           "rotary_emb_interleaved", "scale_attn_by_inverse_layer_idx")),
        (NOMIC_OWN, {"scale_attn_weights": False}, UnsupportedModel, "scale_attn_weights=False"),
        (NOMIC_OWN, {"rotary_emb_fraction": 0.5}, UnsupportedModel, "rotary_emb_fraction=0.5"),
        (NOMIC_OWN, {"rotary_emb_scale_base": 512}, UnsupportedModel, "rotary_emb_scale_base=512"),
        (NOMIC_OWN, {"num_experts": 8}, UnsupportedModel, "num_experts=8"),
        (NOMIC_OWN, {"moe_every_n_layers": 2}, UnsupportedModel, "moe_every_n_layers=2"),
        (NOMIC_OWN, {"activation_function": "gelu"}, UnsupportedModel, "activation_function='gelu' .*only 'swiglu' or"),
        (NOMIC_OWN, {"n_head": 4}, DamagedModel, "a width of 30 is no multiple of 4 attention heads"),
        (NOMIC_OWN, {"n_positions": 0}, DamagedModel, "n_positions must be positive"),
        (GTE_OWN, {"position_embedding_type": "absolute"}, UnsupportedModel, "position_embedding_type='absolute'"),
        (GTE_OWN, {"layer_norm_type": "rms_norm"}, UnsupportedModel, "layer_norm_type='rms_norm'"),
        (GTE_OWN, {"logn_attention_scale": True}, UnsupportedModel, "logn_attention_scale=True"),
        (GTE_OWN, {"pack_qkv": False}, UnsupportedModel, "pack_qkv=False"),
        (GTE_OWN, {"type_vocab_size": -1}, DamagedModel, "type_vocab_size must be 0 or more, not -1"),
        (GTE_OWN, {"rope_scaling": {"type": "ntk", "factor": 2.0, "mixed_b": 0.7}}, UnsupportedModel, "mixed_b=0.7"),
        (GTE_OWN, {"rope_scaling": {"type": "linear", "factor": 2.0}}, UnsupportedModel, "kind 'linear'.*default, ntk"),
        (of("gte"), {"rope_scaling": {"type": "ntk", "factor": 2.0}}, UnsupportedModel, "kind 'ntk' are not handled"),
        (of("gte"), {"head_dim": 12}, UnsupportedModel, "head_dim=12"),
    ],
)  # fmt: skip
def test_a_configuration_that_is_refused(
    config: dict[str, Any], change: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text) as caught:
        rotary_bert.parse({**config, **change})
    assert "config.json" in str(caught.value)


@pytest.mark.parametrize("backend", BACKENDS)
def test_padding_says_nothing(backend: str) -> None:
    made, x, _ = case(of("gte"))
    changed = {**feeds(LENGTHS, 1), "ids": np.where(x["mask"], x["ids"], 5).astype(np.int32)}
    one, other = (states(backend, "gte", rotary_bert.parse(of("gte")), tensors(made), y) for y in (x, changed))
    np.testing.assert_array_equal(one[x["mask"]], other[x["mask"]])


def test_networks_are_found_by_model_type() -> None:
    assert all(find(kind) is rotary_bert for kind in ("nomic_bert", "gte", "new"))
