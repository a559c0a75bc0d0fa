"""Two processes with half a batch each against one with the whole: losses, and what DDP makes of the gradients."""

from __future__ import annotations

import copy
import pickle
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from vicinal import losses
from vicinal.losses.gather import gathered

ROWS = 6
DIRECTIONS = ("query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc")


class Tiny(nn.Module):
    """A model small enough to be sent to another process."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.table, self.out = nn.Embedding(50, 8), nn.Linear(8, 5)
        self.double()

    def forward(self, features: Any) -> Any:
        return {"sentence_embedding": self.out(self.table(features["input_ids"]).mean(1).tanh())}


def columns(start: int, stop: int) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(3)
    whole = [torch.randint(50, (ROWS, 4), generator=generator) for _ in range(3)]
    return [{"input_ids": ids[start:stop]} for ids in whole]


def made(name: str, model: Any) -> Any:
    """The loss of a case."""
    if name == "ranking":
        return losses.MultipleNegativesRankingLoss(model, gather_across_devices=True, directions=DIRECTIONS)
    if name == "cached ranking":
        return losses.CachedMultipleNegativesRankingLoss(
            model, mini_batch_size=2, gather_across_devices=True, directions=DIRECTIONS
        )
    guide = Guide()
    if name == "guided":
        return losses.GISTEmbedLoss(model, guide, temperature=0.5, gather_across_devices=True)
    return losses.CachedGISTEmbedLoss(model, guide, 0.5, mini_batch_size=1, gather_across_devices=True)


class Guide(Tiny):
    def __init__(self) -> None:
        super().__init__(9)


class Words:
    def get_vocab(self) -> dict[str, int]:
        return {}


Tiny.tokenizer = Words()  # type: ignore[attr-defined]
CASES = ["ranking", "cached ranking", "guided", "cached guided"]


def work(rank: int, port: int, folder: str) -> None:
    """One process: every case on its half of the batch, under DDP; then columns of unequal length."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    found: dict[str, Any] = {}
    for name in CASES:
        model = Tiny()
        parallel = nn.parallel.DistributedDataParallel(model)
        half = columns(rank * ROWS // 2, (rank + 1) * ROWS // 2)
        loss = made(name, parallel if not name.endswith("guided") else model)
        loss.model = parallel
        for _ in range(2):  # a second step finds DDP's books in order
            model.zero_grad()
            value = loss(half)
            value.backward()
        found[name] = (value.detach(), {key: p.grad for key, p in model.named_parameters()})
    column = torch.full((rank + 1, 2), float(rank), requires_grad=True)
    (together,), mine = gathered([column])
    (together * torch.arange(6.0).reshape(3, 2)).sum().backward()
    found["unequal"] = (together.detach(), mine, column.grad)
    Path(folder, f"{rank}.pickle").write_bytes(pickle.dumps(found))
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("ranks")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(work, (port, str(folder)), nprocs=2)
    return [pickle.loads((folder / f"{rank}.pickle").read_bytes()) for rank in range(2)]


@pytest.mark.parametrize("name", CASES)
def test_two_processes_are_one_with_twice_the_batch(name: str, found: list[dict[str, Any]]) -> None:
    model = Tiny()
    value = made(name, model)(columns(0, ROWS))
    value.backward()
    torch.testing.assert_close((found[0][name][0] + found[1][name][0]) / 2, value.detach())
    for key, parameter in model.named_parameters():
        for rank in range(2):
            torch.testing.assert_close(found[rank][name][1][key], parameter.grad)


def test_processes_may_have_unequally_many_rows(found: list[dict[str, Any]]) -> None:
    for rank, rows in ((0, range(1)), (1, range(1, 3))):
        together, mine, gradient = found[rank]["unequal"]
        assert together.tolist() == [[0, 0], [1, 1], [1, 1]]
        assert mine == rows
        assert gradient.tolist() == [[2.0 * x for x in (2 * row, 2 * row + 1)] for row in rows]  # of both processes


def test_one_process_gathers_nothing() -> None:
    given = [torch.ones(2, 3), torch.ones(2, 3)]
    together, rows = gathered(given)
    assert together is given
    assert rows == range(2)
    model = copy.deepcopy(Tiny())
    assert torch.equal(
        losses.MultipleNegativesRankingLoss(model, gather_across_devices=True)(columns(0, 6)),
        losses.MultipleNegativesRankingLoss(model)(columns(0, 6)),
    )
