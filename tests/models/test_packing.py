"""Training without padding: the same states and gradients as with it, in one pass as in several."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

from tests import tiny
from vicinal import SentenceTransformer, losses
from vicinal.losses.features import joined
from vicinal.models import Transformer, packing
from vicinal.models.classifier import SequenceClassifier
from vicinal.models.trainable import Trainable

STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
SIZES = {
    "vocab_size": 37, "hidden_size": 22, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 31,
    "max_position_embeddings": 23, "type_vocab_size": 2, "pad_token_id": 1, "embedding_size": 22, **STILL,
}  # fmt: skip
DISTILLED = {
    "vocab_size": 37, "dim": 22, "n_layers": 2, "n_heads": 2, "hidden_dim": 31, "max_position_embeddings": 23,
    "pad_token_id": 1, "dropout": 0.0, "attention_dropout": 0.0,
}  # fmt: skip
LENGTHS = (5, 11, 2, 5, 7, 11, 1)


def network(kind: str) -> Any:
    """A random network in float64, spread so that every part matters."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **(DISTILLED if kind == "distilbert" else SIZES))
    model = AutoModel.from_config(config, attn_implementation="sdpa").double().train()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.4)
    return model


def around(model: Any) -> Transformer:
    """The module of a network that came from no folder."""
    module = Transformer.__new__(Transformer)
    nn.Module.__init__(module)
    module.model = model
    packing.prepare(model)
    return module


def batch(kind: str, left: bool = False) -> dict[str, torch.Tensor]:
    """Texts of LENGTHS tokens, padded on one side."""
    width = max(LENGTHS)
    mask = torch.stack([(torch.arange(width) < length).long() for length in LENGTHS])
    mask = mask.flip(1) if left else mask
    ids = torch.randint(2, 37, mask.shape, generator=torch.Generator().manual_seed(1)) * mask + (1 - mask)
    types = {} if kind == "distilbert" else {"token_type_ids": (ids % 2) * mask}
    return {"input_ids": ids, "attention_mask": mask, **types}


def slopes(states: torch.Tensor, mask: torch.Tensor, model: nn.Module) -> dict[str, torch.Tensor]:
    """The gradients of a function of the states that are no padding."""
    weights = torch.linspace(-1, 2, states.numel(), dtype=states.dtype).view_as(states)
    model.zero_grad()
    (states.tanh() * weights * mask[..., None]).sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kind", sorted(packing.KINDS))
@pytest.mark.parametrize("left", [False, True], ids=["right", "left"])
@pytest.mark.parametrize("scores", [1 << 20, 260, 30], ids=["whole", "by texts", "by heads"])
def test_states_and_gradients_are_those_of_padded_batches(
    kind: str, left: bool, scores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, model = batch(kind, left), network(kind)
    mask = given["attention_mask"]
    wanted = model(**given).last_hidden_state
    expected = slopes(wanted, mask, model)
    monkeypatch.setattr(packing, "_SCORES", scores)
    module = around(model)
    assert module.packs(given)
    found = module(given)["token_embeddings"]
    torch.testing.assert_close(found[mask.bool()], wanted[mask.bool()], rtol=1e-9, atol=1e-9)
    assert not found[~mask.bool()].any()
    gradients = slopes(found, mask, model)
    assert gradients.keys() == expected.keys()
    assert max(gradient.abs().max() for gradient in expected.values()) > 1
    for name, gradient in expected.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-8, atol=1e-8, msg=name)


@pytest.mark.parametrize("kind", sorted(packing.KINDS))
def test_scores_and_their_gradients_are_those_of_padded_batches(kind: str) -> None:
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, num_labels=3, **(DISTILLED if kind == "distilbert" else SIZES))
    config.classifier_dropout = config.seq_classif_dropout = 0.0
    model = AutoModelForSequenceClassification.from_config(config, attn_implementation="sdpa").double().train()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.4)
    given = batch(kind)

    def measured(scores: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        return scores.detach(), slopes(scores[:, None], torch.ones(len(scores), 1), model)

    wanted, expected = measured(model(**given).logits)
    packing.prepare(model)
    module = SequenceClassifier.__new__(SequenceClassifier)
    nn.Module.__init__(module)
    module.model = model
    assert module.packs(given)
    with monitored() as widths:
        found, gradients = measured(module(given)["scores"])
    assert set(widths) == {(1, sum(LENGTHS))}  # nothing was padded where it costs
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)
    assert gradients.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-8, atol=1e-8, msg=name)
    with torch.no_grad():
        torch.testing.assert_close(module(given)["scores"], wanted, rtol=1e-9, atol=1e-9)  # no hook is left


@contextmanager
def monitored() -> Iterator[list[tuple[int, ...]]]:
    """What goes into the layers' norms."""
    seen: list[tuple[int, ...]] = []
    hook = nn.modules.module.register_module_forward_hook(
        lambda module, given, made: seen.append(tuple(made.shape[:2])) if isinstance(module, nn.LayerNorm) else None
    )
    try:
        yield seen
    finally:
        hook.remove()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", sorted(packing.KINDS))
def test_a_gpu_encodes_without_padding(kind: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    wide = {"dim": 32, "n_heads": 2} if kind == "distilbert" else {"hidden_size": 32, "embedding_size": 32}
    config = AutoConfig.for_model(kind, **{**(DISTILLED if kind == "distilbert" else SIZES), **wide})
    model = AutoModel.from_config(config, attn_implementation="sdpa").eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    given = batch(kind)
    there = given["attention_mask"].bool()
    module = around(model.to(dtype))
    with torch.no_grad():
        wanted = model.float()(**given).last_hidden_state[there]
        model.to("cuda", dtype)
        on_gpu = {name: feature.cuda() for name, feature in given.items()}
        assert module.packs(on_gpu)
        with monitored() as widths:
            found = module(on_gpu)["token_embeddings"].cpu().float()[there]
    assert set(widths) == {(1, sum(LENGTHS))}
    assert torch.cosine_similarity(found, wanted, dim=1).min() > (0.9999 if dtype == torch.float16 else 0.999)


def test_a_decoder_and_other_attention_stay_as_they_are() -> None:
    model = network("bert")
    model.config.is_decoder = True
    assert not around(model).packs(batch("bert"))
    eager = network("bert")
    eager.set_attn_implementation("eager")
    module = around(eager)
    assert not module.packs(batch("bert"))
    assert eager.config._attn_implementation == "eager"
    with torch.no_grad():
        assert not around(network("bert")).packs(batch("bert"))


def test_attention_with_dropout_is_autograds_with_the_same_draws() -> None:
    torch.manual_seed(0)
    count, width, heads, size, rate = 3, 5, 2, 7, 0.3
    states = [torch.randn(count * width, heads, size, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    torch.manual_seed(1)
    found = packing._Attention.apply(*states, ((0, count, width),), 0.4, rate)
    slope = torch.randn_like(found)
    gradients = torch.autograd.grad(found, states, slope)
    q, k, v = (s.view(count, width, heads, size).transpose(1, 2) for s in states)
    weights = (q @ k.transpose(2, 3) * 0.4).softmax(-1)
    torch.manual_seed(1)
    kept = packing._kept(weights.reshape(count * heads, width, width), rate).view_as(weights)
    assert 0 < kept.float().mean() < 1
    wanted = ((weights * kept / (1 - rate)) @ v).transpose(1, 2).reshape(found.shape)
    torch.testing.assert_close(found, wanted)
    for mine, plain in zip(gradients, torch.autograd.grad(wanted, states, slope), strict=True):
        torch.testing.assert_close(mine, plain)


def test_dropout_keeps_its_share_and_scales_it() -> None:
    torch.manual_seed(0)
    layer = packing.Dropout(0.1)
    x = torch.ones(1000, 101, requires_grad=True)
    made = layer(x)
    made.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, made.detach())
    assert made.detach().unique().tolist() == pytest.approx([0.0, 1 / 0.9])
    assert abs((made > 0).double().mean().item() - 0.9) < 5 * (0.09 / x.numel()) ** 0.5
    assert torch.equal(layer.eval()(x), x)
    torch.manual_seed(0)
    assert torch.equal(layer.train()(x), made)


COLUMNS = (["red apple", "law", "the tax law"], ["green", "the the the law", "a b c d e"], ["tax", "red", "apple law"])


@pytest.fixture
def model(tmp_path: Path) -> SentenceTransformer:
    found = SentenceTransformer(tiny.write_bert(tmp_path / "model", config=STILL), dtype="float32")
    found.trainable().double().train()
    return found


def result(
    model: SentenceTransformer, loss: Any, labels: Any = None, **options: Any
) -> tuple[float, dict[str, Any], int]:
    """A loss's value, its gradients, and how often the network ran."""
    calls = []
    module = model.trainable()
    hook = module[0].auto_model.register_forward_hook(lambda *_: calls.append(1))
    module.zero_grad()
    value = loss([module.preprocess(column, **options) for column in COLUMNS[: 2 if labels is not None else 3]], labels)
    value.backward()
    hook.remove()
    return value.item(), {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}, len(calls)


@pytest.mark.parametrize("name", ["ranking", "cosent", "matryoshka", "layers"])
def test_one_pass_is_what_several_are(name: str, model: SentenceTransformer, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = losses.MultipleNegativesRankingLoss(model)
    loss, labels = {
        "ranking": (inner, None),
        "cosent": (losses.CoSENTLoss(model), torch.tensor([0.1, 0.9, 0.5])),
        "matryoshka": (losses.MatryoshkaLoss(model, inner, [22, 5]), None),
        "layers": (losses.AdaptiveLayerLoss(model, inner, n_layers_per_step=-1), None),
    }[name]
    value, gradients, calls = result(model, loss, labels)
    assert calls == 1
    monkeypatch.setattr(Trainable, "packs", lambda *_: False)
    monkeypatch.setattr(Transformer, "packs", lambda *_: False)
    wanted, expected, several = result(model, loss, labels)
    assert several == (2 if name == "cosent" else 3)
    assert value == pytest.approx(wanted, rel=1e-9)
    assert gradients.keys() == expected.keys()
    for key, gradient in expected.items():
        torch.testing.assert_close(gradients[key], gradient, rtol=1e-7, atol=1e-9, msg=key)


def test_a_users_module_sees_one_column_at_a_time(model: SentenceTransformer) -> None:
    class Own(nn.Module):  # as batch normalisation would, it may look at other rows
        def forward(self, features: dict[str, Any]) -> dict[str, Any]:
            return features

    loss = losses.MultipleNegativesRankingLoss(model)
    model.trainable().append(Own())
    assert result(model, loss)[2] == 3


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable` is deprecated:FutureWarning")
def test_gradient_checkpointing_takes_the_packing_along(model: SentenceTransformer) -> None:
    loss = losses.MultipleNegativesRankingLoss(model)
    value, gradients, _ = result(model, loss)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    again, found, _ = result(model, loss)
    assert again == value
    assert all(torch.equal(found[name], gradient) for name, gradient in gradients.items())


def test_what_cannot_be_joined() -> None:
    one = {"input_ids": torch.ones(2, 3, dtype=torch.long), "attention_mask": torch.ones(2, 3, dtype=torch.long)}
    other = {key: value[:, :2] for key, value in one.items()}
    whole = joined([one, other])
    assert whole is not None
    assert whole["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 1], [1, 1, 0], [1, 1, 0]]
    assert joined([{**one, "prompt_length": 2}, {**other, "prompt_length": 3}]) is None
    assert joined([{**one, "prompt_length": torch.tensor([2])}, {**other, "prompt_length": torch.tensor([3])}]) is None
    assert joined([{**one, "extra": torch.ones(2, 7)}, {**other, "extra": torch.ones(2, 7)}]) is None
    assert joined([one, {**other, "token_type_ids": other["input_ids"]}]) is None
    flat = {"input_ids": torch.ones(4, dtype=torch.long), "offsets": torch.tensor([0, 2])}
    assert joined([flat, flat]) is None
