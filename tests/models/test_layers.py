"""Layers between token states and pooling, beside those of sentence-transformers."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.models.test_peer import WIDTH, close, features
from tests.parity.compare import near
from tests.tiny import WIDTH as STATES
from tests.tiny import write_bert
from vicinal import SentenceTransformer, models

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from sentence_transformers import SentenceTransformer as Peer
    from sentence_transformers import models as theirs

CASES: dict[str, dict[str, Any]] = {
    "WeightedLayerPooling": {"embedding_dimension": WIDTH, "num_hidden_layers": 3, "layer_start": 1},
    "CNN": {"in_embedding_dimension": WIDTH, "out_channels": 3, "kernel_sizes": [1, 3, 5]},
    "LSTM": {"embedding_dimension": WIDTH, "hidden_dim": 4, "num_layers": 2},
}


def given() -> dict[str, Any]:
    found = features()
    layers = torch.randn(4, 3, 4, WIDTH, generator=torch.Generator().manual_seed(1)).requires_grad_()
    return {
        **found,
        "all_layer_embeddings": tuple(layers),
        "layers": layers,
        "sentence_lengths": torch.tensor([4, 1, 3]),
    }


def slopes(module: nn.Module) -> list[Any]:
    """Token states, and gradients of a function of them."""
    found = given()
    leaves = [found["layers"] if "WeightedLayer" in type(module).__name__ else found["token_embeddings"]]
    states = found["token_embeddings"] * found["attention_mask"].unsqueeze(-1)  # the peer's CNN sees padding
    made = module({**found, "token_embeddings": states})["token_embeddings"]
    weights = torch.linspace(-1, 2, made.numel()).reshape(made.shape)
    return [made, *torch.autograd.grad((made * weights).sum(), [*leaves, *module.parameters()])]


@pytest.mark.parametrize("name", CASES)
def test_values_gradients_and_folders(name: str, tmp_path: Path) -> None:
    ours, peer = (getattr(home, name)(**CASES[name]) for home in (models, theirs))
    for parameter in ours.parameters():
        parameter.data += torch.linspace(-0.2, 0.3, parameter.numel()).reshape(parameter.shape)
    peer.load_state_dict(ours.state_dict())
    wanted = slopes(peer)
    for one, other in zip(slopes(ours), wanted, strict=True):
        close(one, other)
    assert ours.get_config_dict() == peer.get_config_dict()
    assert ours.get_embedding_dimension() == peer.get_embedding_dimension()
    for at, writer, kind in (("ours", ours, type(peer)), ("theirs", peer, type(ours))):
        (tmp_path / at).mkdir()
        writer.save(str(tmp_path / at))
        close(slopes(kind.load(str(tmp_path / at)))[0], wanted[0])


def test_a_folder_of_sentence_transformers(tmp_path: Path) -> None:
    first = theirs.Transformer(str(write_bert(tmp_path / "bert")))
    made = Peer(modules=[first, theirs.CNN(STATES, 3), theirs.Pooling(9)], device="cpu")
    made.save(str(tmp_path / "theirs"))
    found = SentenceTransformer(str(tmp_path / "theirs"), backend="torch")
    assert "CNN" in repr(found)
    assert found.backend == "torch"
    texts = ["a red apple", "tax law", "the green query"]
    wanted = made.encode(texts, batch_size=1)  # of several texts, its CNN sees padding
    near(found.encode(texts), wanted)
    found.save(str(tmp_path / "ours"))
    near(Peer(str(tmp_path / "ours"), device="cpu").encode(texts, batch_size=1), wanted)


def test_padding_is_not_seen() -> None:
    module, found = models.CNN(**CASES["CNN"]), given()
    made = module(dict(found))["token_embeddings"]
    for row, length in enumerate(found["attention_mask"].sum(1).tolist()):
        alone = {name: found[name][row : row + 1, :length] for name in ("token_embeddings", "attention_mask")}
        close(module(alone)["token_embeddings"][0], made[row, :length])


@pytest.mark.parametrize(("name", "old", "new"), [
    ("CNN", "in_word_embedding_dimension", "in_embedding_dimension"),
    ("LSTM", "word_embedding_dimension", "embedding_dimension"),
    ("WeightedLayerPooling", "word_embedding_dimension", "embedding_dimension"),
])  # fmt: skip
def test_older_spellings(name: str, old: str, new: str) -> None:
    arguments = dict(CASES[name])
    arguments[old] = arguments.pop(new)
    with pytest.warns(DeprecationWarning, match=new):
        module = getattr(models, name)(**arguments)
    assert module.get_config_dict() == getattr(models, name)(**CASES[name]).get_config_dict()


def test_what_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="2 stride_sizes"):
        models.CNN(WIDTH, stride_sizes=[1, 2])
    with pytest.raises(ValueError, match="hidden_dim"):
        models.LSTM(WIDTH)
