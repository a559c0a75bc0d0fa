"""Gradient caching: the same numbers as without, dropout equal in both passes, the memory of one part."""

from __future__ import annotations

import copy
import weakref
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from tests.losses.models import assert_same, columns, run, sentence_model
from vicinal import losses
from vicinal.losses import gradcache
from vicinal.losses.gradcache import mean_over_rows, recomputed


def test_the_function_runs_twice_and_the_gradient_is_that_of_running_once() -> None:
    calls = []

    def square(x: Any) -> Any:
        calls.append(torch.is_grad_enabled())
        return x.square().sin()

    x = torch.randn(5, dtype=torch.float64, requires_grad=True)
    (once,) = torch.autograd.grad(square(x).sum(), x)
    calls.clear()
    (twice,) = torch.autograd.grad(recomputed(square, x).sum(), x)
    assert torch.equal(once, twice)
    assert len(calls) == 2
    with torch.no_grad():
        recomputed(square, x)
    assert len(calls) == 3
    assert torch.autograd.gradcheck(lambda x: recomputed(square, x), x)


def test_randomness_is_the_same_both_times_and_goes_on_afterwards() -> None:
    x = torch.ones(1000, requires_grad=True)
    torch.manual_seed(0)
    drawn = recomputed(lambda x: nn.functional.dropout(x, 0.5), x)
    after = torch.rand(1)
    torch.manual_seed(1)
    (gradient,) = torch.autograd.grad(drawn.sum(), x)
    assert torch.equal(gradient, drawn.detach())  # 2 where it was kept, 0 where not
    following = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), following)  # the backward pass drew nothing of the outer stream
    torch.manual_seed(0)
    nn.functional.dropout(torch.ones(1000), 0.5)
    assert torch.equal(torch.rand(1), after)


def test_the_state_of_an_apple_gpu_is_replayed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's own checkpoint leaves it out; there is none here, so its functions are stood in for."""
    states = [torch.tensor([1])]
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda: states[-1])
    monkeypatch.setattr(torch.mps, "set_rng_state", states.append)
    x = torch.ones(3, requires_grad=True)
    seen = []

    def draw(x: Any) -> Any:
        seen.append(int(states[-1]))
        states.append(torch.tensor([9]))
        return x.exp()

    recomputed(draw, x, device="mps").sum().backward()
    assert seen == [1, 1]
    assert int(states[-1]) == 9  # as the first pass left it


@pytest.mark.parametrize("size", [1, 2, 4, 5, 100])
def test_dropout_is_that_of_the_whole_batch_cut_alike(size: int) -> None:
    """Parts embedded and kept, against parts embedded twice, from one random state."""
    model = copy.deepcopy(sentence_model()).train()

    class Kept(losses.CachedMultipleNegativesRankingLoss):
        def embed(self, model: Any, column: Any, encode: Any) -> Any:
            from vicinal.losses.features import part, parts

            cuts = parts(column, self.caching.rows, None)
            return torch.cat([encode(model, part(column, *cut)) for cut in cuts])

    kept, cached = (kind(model, mini_batch_size=size) for kind in (Kept, losses.CachedMultipleNegativesRankingLoss))
    assert_same(kept, cached, model, columns(2), None)
    first, _ = run(cached, model, columns(2), None, seed=1)
    second, _ = run(cached, model, columns(2), None, seed=2)
    assert first != second


@pytest.mark.parametrize("chunk", [None, 1, 3, 7, 50])
def test_a_mean_over_chunks_of_rows(chunk: int | None) -> None:
    x = torch.randn(7, 3, dtype=torch.float64, requires_grad=True)

    def row_losses(part: range) -> Any:
        return (x[part.start : part.stop] @ x.T).logsumexp(1)

    value = mean_over_rows(row_losses, range(1, 6), chunk)
    expected = (x[1:6] @ x.T).logsumexp(1).mean()
    torch.testing.assert_close(value, expected)
    for found, wanted in zip(torch.autograd.grad(value, x), torch.autograd.grad(expected, x), strict=True):
        torch.testing.assert_close(found, wanted)


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning")
def test_a_frozen_model_and_one_that_checkpoints_itself() -> None:
    model = copy.deepcopy(sentence_model()).train()
    loss = losses.CachedMultipleNegativesRankingLoss(model, mini_batch_size=4)
    plain = losses.MultipleNegativesRankingLoss(model)
    model.eval()
    for parameter in model[0].auto_model.embeddings.parameters():
        parameter.requires_grad_(False)
    assert_same(plain, loss, model, columns(2), None)
    model.train()
    model[0].auto_model.gradient_checkpointing_enable()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    assert_same(plain, loss, model, columns(2), None)


def test_a_model_without_gradients() -> None:
    model = copy.deepcopy(sentence_model()).requires_grad_(False)
    assert not losses.CachedMultipleNegativesRankingLoss(model, mini_batch_size=4)(columns(2)).requires_grad


def test_bfloat16_autocast_is_the_same_both_times() -> None:
    model = copy.deepcopy(sentence_model()).float()
    plain, cached = (
        losses.MultipleNegativesRankingLoss(model),
        losses.CachedMultipleNegativesRankingLoss(model, mini_batch_size=4),
    )
    with torch.autocast("cpu", torch.bfloat16):
        value, cached_value = plain(columns(2)), cached(columns(2))
    assert value.dtype == torch.float32  # the arithmetic of the loss itself is not in half precision
    torch.testing.assert_close(cached_value, value, rtol=0.02, atol=0.02)
    cached_value.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


class Live(TorchDispatchMode):  # type: ignore[misc]
    """Counts the bytes of tensors that are alive, and the most there were."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(tensor, torch.Tensor) and (key := tensor.untyped_storage().data_ptr()) not in self._known:
                size = tensor.untyped_storage().nbytes()
                self._known.add(key)
                self.now += size
                self.peak = max(self.peak, self.now)
                weakref.finalize(tensor.untyped_storage(), self._freed, key, size)
        return out

    def _freed(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


class Wide(nn.Module):
    """A model whose activations are large and its embeddings small."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(4, width), nn.Linear(width, 4)

    def forward(self, features: Any) -> Any:
        return {"sentence_embedding": self.down(self.up(features["input_ids"]).sin().exp().tanh())}


def peak(loss: Any, given: Any) -> int:
    """The most bytes alive in a step."""
    with Live() as live:
        loss(given).backward()
    loss.zero_grad()
    return live.peak


def test_memory_is_that_of_a_part() -> None:
    width, rows, size = 4096, 256, 8
    model = Wide(width)
    given = [{"input_ids": torch.randn(rows, 4)} for _ in range(2)]
    layer, weights = 4 * width, sum(4 * p.numel() for p in model.parameters())
    assert peak(losses.MultipleNegativesRankingLoss(model), given) > 3 * 2 * rows * layer
    cached = peak(losses.CachedMultipleNegativesRankingLoss(model, mini_batch_size=size), given)
    assert cached < 6 * size * layer + 4 * weights + 200_000
    doubled = [{"input_ids": torch.randn(2 * rows, 4)} for _ in range(2)]
    grown = peak(losses.CachedMultipleNegativesRankingLoss(model, mini_batch_size=size), doubled)
    assert grown < cached + 50 * rows * 8  # embeddings and scores of a part; not activations


def test_scores_are_held_a_chunk_at_a_time() -> None:
    """1,024 by 2,048 scores in each of four directions would be 8 MB and more each."""
    model, rows = Wide(2), 1024
    given = [{"input_ids": torch.randn(rows, 4)} for _ in range(3)]
    directions = ("query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc")
    loss = losses.CachedMultipleNegativesRankingLoss(model, mini_batch_size=32, directions=directions)
    assert peak(loss, given) < 8_000_000


def test_a_part_must_hold_something() -> None:
    for options in ({"mini_batch_size": 0}, {"mini_batch_num_tokens": -1}):
        with pytest.raises(ValueError, match=r"mini_batch_\w+ must be a positive integer, not"):
            losses.CachedMultipleNegativesRankingLoss(sentence_model(), **options)


def test_progress_is_shown_where_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    for show in (False, True):
        losses.CachedMultipleNegativesRankingLoss(sentence_model(), show_progress_bar=show)(columns(2))
        assert ("Embed mini-batches" in capsys.readouterr().err) is show


def test_the_heap_is_trimmed_before_each_part_is_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    trimmed: list[int] = []
    monkeypatch.setattr(gradcache, "_malloc_trim", lambda: trimmed.append)
    x = torch.randn(5, requires_grad=True)
    total = sum(recomputed(torch.sin, part, model=nn.Identity()).sum() for part in x.split(2))
    assert not trimmed
    total.backward()
    assert trimmed == [0, 0, 0]
    recomputed(torch.sin, x, model=nn.Identity(), device="cuda").sum().backward()  # its activations lie elsewhere
    recomputed(torch.sin, x).sum().backward()  # rows of scores: all of a shape
    assert trimmed == [0, 0, 0]


@pytest.mark.parametrize(("platform", "library"), [("win32", None), ("linux", object())], ids=["Windows", "musl"])
def test_where_the_c_library_cannot_trim_nothing_is_done(
    platform: str, library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gradcache.sys, "platform", platform)
    monkeypatch.setattr(gradcache.ctypes, "CDLL", lambda name: library)
    monkeypatch.setattr(gradcache, "_malloc_trim", gradcache._malloc_trim.__wrapped__)
    assert gradcache._malloc_trim() is None
    x = torch.randn(5, requires_grad=True)
    recomputed(torch.sin, x, model=nn.Identity()).sum().backward()
    assert torch.equal(x.grad, x.detach().cos())
