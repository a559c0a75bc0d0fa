"""BERT's relatives against `transformers`: those that are made of its layers and differ in embeddings and names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from tests.networks import harness
from tests.networks.harness import BACKENDS, CLOSE, SEEN, Case
from vicinal.errors import DamagedModel, UnsupportedModel
from vicinal.networks import albert, electra, encoder, find, mpnet, relative, roberta

transformers = pytest.importorskip("transformers")

SMALL: dict[str, Any] = {
    "vocab_size": 53, "hidden_size": 22, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 37,
    "max_position_embeddings": 31, "type_vocab_size": 2, "layer_norm_eps": 1e-3,
}  # fmt: skip
NARROW = {**SMALL, "embedding_size": 13}
DISTIL = {"vocab_size": 53, "dim": 22, "n_heads": 2, "n_layers": 2, "hidden_dim": 37, "max_position_embeddings": 31}
KINDS = {
    "roberta": ("Roberta", SMALL),
    "xlm-roberta": ("XLMRoberta", SMALL),
    "camembert": ("Camembert", SMALL),
    "mpnet": ("MPNet", {key: value for key, value in SMALL.items() if key != "type_vocab_size"}),
    "electra": ("Electra", NARROW),
    "albert": ("Albert", NARROW),
    "distilbert": ("DistilBert", DISTIL),
}


def make(kind: str, seed: int = 0, **changes: Any) -> Case:
    name, config = KINDS[kind]
    classes = (getattr(transformers, f"{name}{part}") for part in ("Config", "Model"))
    return harness.case(*classes, seed, **{**config, **changes})


CONFIGS: list[tuple[str, dict[str, Any]]] = [
    *((kind, {}) for kind in KINDS),
    *((kind, {"num_attention_heads": 11, "hidden_size": 33, "num_hidden_layers": 3}) for kind in KINDS
      if kind != "distilbert"),
    *((kind, {"num_attention_heads": 1, "hidden_act": "relu", "intermediate_size": 1}) for kind in
      ("roberta", "mpnet", "electra", "albert")),
    *((kind, {"hidden_act": "gelu_new", "layer_norm_eps": 1e-12, "num_hidden_layers": 1}) for kind in
      ("xlm-roberta", "mpnet", "electra", "albert")),
    ("roberta", {"pad_token_id": 0}),
    ("roberta", {"pad_token_id": 7, "type_vocab_size": 1}),
    ("camembert", {"hidden_act": "silu", "type_vocab_size": 1}),
    ("xlm-roberta", {"hidden_act": "tanh"}),
    ("electra", {"embedding_size": 22}),
    ("electra", {"embedding_size": 29, "type_vocab_size": 3}),
    ("albert", {"num_hidden_layers": 5, "num_hidden_groups": 2}),
    ("albert", {"num_hidden_layers": 4, "num_hidden_groups": 4, "inner_group_num": 2, "embedding_size": 22}),
    ("distilbert", {"n_heads": 11, "dim": 33, "n_layers": 3}),
    ("distilbert", {"n_heads": 1, "activation": "relu"}),
]  # fmt: skip


def name(value: Any) -> str:
    return "-".join(f"{k}={v}" for k, v in value.items()) or "plain" if isinstance(value, dict) else str(value)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("kind", "changes"), CONFIGS, ids=name)
def test_token_states(kind: str, changes: dict[str, Any], backend: str) -> None:
    assert harness.off(make(kind, **changes), backend) < CLOSE


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_longer_texts(kind: str, backend: str) -> None:
    """MPNet's distances go beyond the one from which all are alike."""
    c = make(kind, max_position_embeddings=230)
    assert harness.off(c, backend, harness.batch(c, (209, 1, 128, 130, 57))) < CLOSE


@pytest.mark.parametrize("kind", KINDS)
def test_a_silent_configuration(kind: str) -> None:
    """Only the sizes are given: what else there is has the peer's defaults."""
    changes = {} if kind == "distilbert" else {"layer_norm_eps": 1e-12}
    c = harness.silent(make(kind, **changes))
    assert {"hidden_act", "activation"}.isdisjoint(c.config)
    assert harness.off(c) < CLOSE


def test_defaults_that_the_sizes_above_do_not_show() -> None:
    bare = {key: value for key, value in SMALL.items() if key not in ("type_vocab_size", "layer_norm_eps")}
    for kind, (peer, _) in KINDS.items():
        if kind == "distilbert":
            continue
        stated = getattr(transformers, f"{peer}Config")(**bare).to_dict()
        assert find(kind).parse({**bare, "model_type": kind}) == find(kind).parse(stated), kind  # type: ignore[union-attr]


# ---- planted faults ------------------------------------------------------------------------------------------------

FAULTS: list[tuple[str, dict[str, Any]]] = [
    *((kind, {"hidden_act": "gelu_new"}) for kind in KINDS if kind not in ("albert", "distilbert")),
    *((kind, {"layer_norm_eps": 1e-5}) for kind in KINDS if kind != "distilbert"),
    *((kind, {"num_attention_heads": 1}) for kind in KINDS if kind not in ("distilbert", "mpnet")),
    ("albert", {"hidden_act": "gelu"}),
    ("distilbert", {"activation": "gelu_new"}),
    ("distilbert", {"n_heads": 11}),
    ("distilbert", {"n_layers": 1}),
    ("roberta", {"pad_token_id": 0}),
    ("roberta", {"pad_token_id": 2}),
]


@pytest.mark.parametrize(("kind", "fault"), FAULTS, ids=name)
def test_a_planted_fault_is_seen(kind: str, fault: dict[str, Any]) -> None:
    assert harness.off(make(kind), config=fault) > SEEN


Wrong = Callable[..., Any]


def shifted(buckets: Callable[[int, int], Any]) -> Wrong:
    return lambda count, far: np.roll(buckets(count, far), 1)


CODE: list[tuple[str, str, Any, str, Wrong]] = [
    ("distances from query to key", "mpnet", relative, "buckets", lambda right: lambda n, far: right(n, far)[::-1]),
    ("distances one off", "mpnet", relative, "buckets", shifted),
    ("buckets that end sooner", "mpnet", relative, "buckets", lambda right: lambda n, far: right(n, far).clip(0, 20)),
    ("no distances", "mpnet", mpnet, "relative_bias", lambda _: lambda ops, *rest: ops.constant(np.float32(0))),
    ("no mask", "roberta", roberta, "mask_bias", lambda _: lambda ops, mask: ops.constant(np.float32(0))),
    ("no mask", "albert", albert, "mask_bias", lambda _: lambda ops, mask: ops.constant(np.float32(0))),
    ("no projection", "electra", electra, "dense", lambda right: lambda ops, w, n, h, a, b: ops.concat([h, h], 2)),
    ("keys for queries", "roberta", encoder, "projections",
     lambda right: lambda *given: [right(*given)[i] for i in (1, 0, 2)]),
    ("values for keys", "electra", encoder, "projections",
     lambda right: lambda *given: [right(*given)[i] for i in (0, 2, 1)]),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "kind", "module", "part", "wrong"), CODE, ids=[f"{c[1]}: {c[0]}" for c in CODE])
def test_a_fault_in_the_code_is_seen(
    fault: str, kind: str, module: Any, part: str, wrong: Wrong, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"embedding_size": 11} if kind == "electra" else {}
    c = make(kind, max_position_embeddings=60, **changes)
    feeds = harness.batch(c, (41, 1, 19))
    assert harness.off(c, feeds=feeds) < CLOSE
    monkeypatch.setattr(module, part, wrong(getattr(module, part)))
    assert harness.off(c, feeds=feeds) > SEEN, fault


def test_the_wrong_group_of_shared_layers_is_seen() -> None:
    c = make("albert", num_hidden_layers=5, num_hidden_groups=2)
    swapped = {name.replace("groups.0", "groups.x").replace("groups.1", "groups.0").replace("groups.x", "groups.1"): t
               for name, t in c.tensors.items()}  # fmt: skip
    assert harness.off(c, tensors=swapped) > SEEN
    assert harness.off(c, config={"num_hidden_layers": 4}) > SEEN


@pytest.mark.parametrize("kind", KINDS)
def test_every_tensor_matters(kind: str) -> None:
    changes = {"inner_group_num": 2, "num_hidden_groups": 2} if kind == "albert" else {}
    assert harness.unused(make(kind, **changes)) == ()


# ---- positions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["roberta", "xlm-roberta", "camembert", "mpnet"])
def test_a_padding_token_inside_a_text_has_no_position(kind: str, backend: str) -> None:
    """A text may hold "<pad>" in so many words: attention sees it, positions do not count it."""
    c = make(kind)
    ids = [[1, 5, 1, 1, 9, 11], [4, 5, 6], [1], [3, 1], [2, 40, 41, 42, 1, 43, 44, 1]]
    feeds = harness.batch(c, ids=ids)
    assert feeds["positions"][0, :7].tolist() == [0, 1, 0, 0, 2, 3, 0]
    assert harness.off(c, backend, feeds) < CLOSE
    plain = np.where(feeds["mask"], np.cumsum(feeds["mask"], 1), 0).astype(np.int32)
    assert harness.difference(harness.ours(c, {**feeds, "positions": plain}), harness.theirs(c, feeds), feeds) > SEEN


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("kind", "padding"), [("roberta", 1), ("roberta", 7), ("mpnet", 1)])
def test_the_longest_text_reaches_the_last_position(kind: str, padding: int, backend: str) -> None:
    c = make(kind, pad_token_id=padding)
    assert c.parsed.max_tokens == 31 - padding - 1
    ids = [[9] * c.parsed.max_tokens]
    assert harness.off(c, backend, harness.batch(c, ids=ids)) < CLOSE


# ---- configurations ------------------------------------------------------------------------------------------------


def described(kind: str, **changes: Any) -> Mapping[str, Any]:
    return {"model_type": kind, **KINDS[kind][1], **changes}


@pytest.mark.parametrize(
    ("kind", "change", "error", "text"),
    [
        ("roberta", {"position_embedding_type": "relative_key_query"}, UnsupportedModel, "'relative_key_query'"),
        ("camembert", {"is_decoder": True}, UnsupportedModel, "is_decoder=True"),
        ("xlm-roberta", {"pad_token_id": -1}, DamagedModel, "pad_token_id must be 0 or more, not -1"),
        ("xlm-roberta", {"pad_token_id": None}, DamagedModel, "pad_token_id must be 0 or more, not None"),
        ("roberta", {"max_position_embeddings": 2}, DamagedModel, "2, counted from pad_token_id 1, leaves none"),
        ("mpnet", {"max_position_embeddings": 2}, DamagedModel, "max_position_embeddings 2 leaves none for a token"),
        ("mpnet", {"relative_attention_num_buckets": 64}, UnsupportedModel, "num_buckets=64 is not handled.*only 32"),
        ("mpnet", {"hidden_act": "mish"}, UnsupportedModel, "hidden_act='mish' is no activation"),
        ("electra", {"embedding_size": 0}, DamagedModel, "embedding_size must be positive, not 0"),
        ("albert", {"num_hidden_groups": 0}, DamagedModel, "num_hidden_groups must be positive, not 0"),
        ("albert", {"inner_group_num": 1.5}, DamagedModel, "inner_group_num must be positive, not 1.5"),
        ("albert", {"num_attention_heads": 3}, DamagedModel, "hidden_size 22 is no multiple of num_attention_heads 3"),
        ("distilbert", {"n_heads": 3}, DamagedModel, "dim 22 is no multiple of n_heads 3"),
        ("distilbert", {"dim": None}, DamagedModel, "dim must be positive, not None"),
        ("distilbert", {"activation": "softplus"}, UnsupportedModel, "activation='softplus' is no activation"),
    ],
)
def test_a_configuration_that_is_refused(kind: str, change: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text) as caught:
        find(kind).parse(described(kind, **change))  # type: ignore[union-attr]
    assert f"config.json of this {kind} model" in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_what_checkpoints_carry_besides(kind: str) -> None:
    """Every tensor of the peer's other models on this network is either read or a known leftover."""
    import fnmatch

    peer, config = KINDS[kind]
    network = find(kind)
    assert network is not None
    made = getattr(transformers, f"{peer}Config")(**config)
    for task in ("ForMaskedLM", "ForSequenceClassification", "ForQuestionAnswering", "ForPreTraining"):
        if not hasattr(transformers, f"{peer}{task}"):
            continue
        tensors = getattr(transformers, f"{peer}{task}")(made).state_dict()
        (anchor,) = (name for name in tensors if name.endswith(network.ANCHOR))
        prefix, body = anchor.removesuffix(network.ANCHOR), set(make(kind).tensors)
        for tensor in (name.removeprefix(prefix) for name in tensors):
            assert tensor in body or any(fnmatch.fnmatchcase(tensor, p) for p in network.LEFTOVERS), (task, tensor)
