"""DeBERTa-v2 against `transformers`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.networks import harness
from tests.networks.harness import BACKENDS, CLOSE, SEEN, Case
from vicinal.backends.openvino import has_bfloat16
from vicinal.errors import DamagedModel, UnsupportedModel
from vicinal.networks import deberta, encoder

transformers = pytest.importorskip("transformers")

SMALL: dict[str, Any] = {
    "vocab_size": 53, "hidden_size": 22, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 37,
    "max_position_embeddings": 61, "layer_norm_eps": 1e-3, "relative_attention": True, "pos_att_type": "p2c|c2p",
}  # fmt: skip
V3 = {"position_buckets": 8, "share_att_key": True, "norm_rel_ebd": "layer_norm", "position_biased_input": False}


def make(seed: int = 0, **changes: Any) -> Case:
    return harness.case(transformers.DebertaV2Config, transformers.DebertaV2Model, seed, **{**SMALL, **changes})


CONFIGS: list[dict[str, Any]] = [
    {},
    V3,
    {**V3, "type_vocab_size": 2, "num_attention_heads": 11, "hidden_size": 33, "num_hidden_layers": 3},
    {**V3, "share_att_key": False, "hidden_act": "relu"},
    {**V3, "norm_rel_ebd": "none", "position_biased_input": True, "num_attention_heads": 1},
    {**V3, "pos_att_type": ["c2p"], "position_buckets": 7},
    {**V3, "pos_att_type": ["p2c"], "share_att_key": False},
    {**V3, "max_relative_positions": 17, "position_buckets": 16, "hidden_act": "gelu_new"},
    {"max_relative_positions": 3, "share_att_key": True},
    {"max_relative_positions": 5, "pos_att_type": "P2C", "position_biased_input": False},
    {"position_buckets": 2, "norm_rel_ebd": " Layer_Norm | none"},
    {"relative_attention": False, "type_vocab_size": 3},
    {"relative_attention": False, "pos_att_type": None},
    {**V3, "embedding_size": 13, "type_vocab_size": 1},
]  # fmt: skip


def name(value: Any) -> str:
    return "-".join(f"{k}={v}" for k, v in value.items()) or "plain" if isinstance(value, dict) else str(value)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("changes", CONFIGS, ids=name)
def test_token_states(changes: dict[str, Any], backend: str) -> None:
    c = make(**changes)
    assert harness.off(c, backend, harness.batch(c, (41, 1, 60, 19, 7))) < CLOSE


@pytest.mark.parametrize("backend", BACKENDS)
def test_longer_texts(backend: str) -> None:
    """Distances go beyond the last bucket, and texts beyond the stated positions where only distances count."""
    c = make(**V3, max_position_embeddings=230, max_relative_positions=40)
    assert harness.off(c, backend, harness.batch(c, (209, 1, 128, 130, 57))) < CLOSE


@pytest.mark.parametrize("share", [True, False])
def test_lower_precision(share: bool) -> None:
    """What is the same for every text is computed with whole weights."""
    c = make(**V3 | {"share_att_key": share, "hidden_size": 128, "num_attention_heads": 4, "layer_norm_eps": 1e-7})
    feeds = harness.batch(c, (41, 1, 19))
    wanted = harness.ours(c, feeds)[feeds["mask"]]
    for dtype in ("int8", "bfloat16") if has_bfloat16() else ("int8",):
        found = harness.ours(c, feeds, "openvino", dtype)[feeds["mask"]]
        cosine = (found * wanted).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(wanted, axis=1)
        assert 0.98 < cosine.mean() < 0.9999999, dtype


def test_a_silent_configuration() -> None:
    for changes in ({"relative_attention": False}, {}, V3):
        given = {key: value for key, value in {**SMALL, **changes}.items() if key != "layer_norm_eps"}
        stated = transformers.DebertaV2Config(**given).to_dict()
        assert deberta.parse({**given, "model_type": "deberta-v2"}) == deberta.parse(stated)


@pytest.mark.parametrize(("buckets", "far"), [(256, 512), (4, 9), (7, 31), (2, 5), (64, 65), (320, 512), (0, 12)])
def test_rows_of_distances(buckets: int, far: int) -> None:
    """The peer's own table, at every distance up to twice the last bucket's."""
    import torch
    from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

    reach, span = 2 * far, buckets or far
    between = torch.arange(-reach, reach + 1)
    grouped = make_log_bucket_position(between, buckets, far).long() if buckets else between
    wanted = torch.clamp(grouped + span, 0, 2 * span - 1)
    assert deberta.distance_rows(reach, buckets, far).tolist() == wanted.tolist()


# ---- planted faults ------------------------------------------------------------------------------------------------

FAULTS: list[dict[str, Any]] = [
    {"hidden_act": "gelu_new"},
    {"layer_norm_eps": 1e-5},
    {"num_attention_heads": 1},
    {"pos_att_type": "c2p"},
    {"pos_att_type": "p2c"},
    {"relative_attention": False, "norm_rel_ebd": "none"},
    {"norm_rel_ebd": "none"},
    {"max_relative_positions": 40},
]


@pytest.mark.parametrize("fault", FAULTS, ids=name)
def test_a_planted_fault_is_seen(fault: dict[str, Any]) -> None:
    c = make(**V3)
    feeds = harness.batch(c, (41, 1, 19))
    assert harness.off(c, feeds=feeds) < CLOSE
    assert harness.off(c, feeds=feeds, config=fault) > SEEN


Wrong = Callable[[Any], Any]
CODE: list[tuple[str, Any, str, Wrong]] = [
    ("distances the other way", deberta, "distance_rows", lambda right: lambda *given: right(*given)[::-1]),
    ("rows one off", deberta, "distance_rows", lambda right: lambda *given: np.roll(right(*given), 1)),
    ("no buckets", deberta, "distance_rows", lambda right: lambda reach, n, far: right(reach, 0, n)),
    ("no mask", deberta, "mask_bias", lambda _: lambda ops, mask: ops.constant(np.float32(0))),
    ("keys for queries", encoder, "projections", lambda right: lambda *given: [right(*given)[i] for i in (1, 0, 2)]),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "module", "part", "wrong"), CODE, ids=[c[0] for c in CODE])
def test_a_fault_in_the_code_is_seen(
    fault: str, module: Any, part: str, wrong: Wrong, monkeypatch: pytest.MonkeyPatch
) -> None:
    c = make(**V3)
    feeds = harness.batch(c, (41, 1, 19))
    assert harness.off(c, feeds=feeds) < CLOSE
    monkeypatch.setattr(module, part, wrong(getattr(module, part)))
    assert harness.off(c, feeds=feeds) > SEEN, fault


@pytest.mark.parametrize("changes", [{}, V3, {**V3, "share_att_key": False, "embedding_size": 13}], ids=name)
def test_every_tensor_matters(changes: dict[str, Any]) -> None:
    """Also the key's bias, for keys are compared with distances; but not that of distances as keys, which cancels."""
    c = make(**changes)
    unused = harness.unused(c, harness.batch(c, (60, 19)))
    assert all(name.endswith("pos_key_proj.bias") for name in unused)


# ---- configurations ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"conv_kernel_size": 3}, UnsupportedModel, "conv_kernel_size=3 asks for a ConvLayer, which is not handled"),
        ({"pos_att_type": "p2p|c2p"}, UnsupportedModel, "pos_att_type 'p2p' is not handled here, only c2p and p2c"),
        ({"pos_att_type": []}, DamagedModel, "relative_attention needs a pos_att_type"),
        ({"norm_rel_ebd": "batch_norm"}, UnsupportedModel, "norm_rel_ebd 'batch_norm' is not handled"),
        ({"norm_rel_ebd": "layer_norm", "relative_attention": False}, UnsupportedModel, "norm_rel_ebd 'layer_norm'"),
        ({"position_buckets": 1}, DamagedModel, "position_buckets 1 must be 2 or more"),
        ({"position_buckets": 120}, DamagedModel, "position_buckets 120 must be .* half of them less than 60"),
        ({"position_buckets": -3}, DamagedModel, "position_buckets must be 0 or more, not -3"),
        ({"attention_head_size": 5}, UnsupportedModel, "attention_head_size=5 is not handled here, only 11"),
        ({"share_att_key": "yes"}, DamagedModel, "share_att_key must be true or false, not 'yes'"),
        ({"hidden_act": "mish"}, UnsupportedModel, "hidden_act='mish' is no activation"),
    ],
)
def test_a_configuration_that_is_refused(change: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text) as caught:
        deberta.parse({"model_type": "deberta-v2", **SMALL, **change})
    assert "config.json of this deberta-v2 model" in str(caught.value)


def test_what_checkpoints_carry_besides() -> None:
    """Every tensor of the peer's other models on this network is either read or a known leftover."""
    import fnmatch

    made = transformers.DebertaV2Config(**SMALL)
    body = set(make().tensors)
    for task in ("ForMaskedLM", "ForSequenceClassification", "ForQuestionAnswering", "ForTokenClassification"):
        tensors = getattr(transformers, f"DebertaV2{task}")(made).state_dict()
        for tensor in (name.removeprefix(deberta.PREFIX) for name in tensors):
            assert tensor in body or any(fnmatch.fnmatchcase(tensor, p) for p in deberta.LEFTOVERS), (task, tensor)
