"""Modules beside those of sentence-transformers: values, gradients, settings, and each other's folders."""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from vicinal import models

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from sentence_transformers import models as theirs

WIDTH = 5
MODES = models.Pooling.POOLING_MODES


def features(seed: int = 0) -> dict[str, Any]:
    """Three texts of 4, 1 and 3 tokens; fresh tensors at each call."""
    made = torch.Generator().manual_seed(seed)
    mask = torch.tensor([[1, 1, 1, 1], [1, 0, 0, 0], [1, 1, 1, 0]])
    return {
        "token_embeddings": torch.randn(3, 4, WIDTH, generator=made).requires_grad_(),
        "sentence_embedding": torch.randn(3, WIDTH, generator=made).requires_grad_(),
        "attention_mask": mask,
    }


def slopes(module: nn.Module, given: dict[str, Any]) -> tuple[Any, list[Any]]:
    """What a module makes, and the gradients of a function of it."""
    leaves = [t for t in given.values() if t.requires_grad]
    made = module(dict(given))["sentence_embedding"]
    weights = torch.linspace(-1, 2, made.numel()).reshape(made.shape)
    wanted = [*leaves, *module.parameters()]
    return made, list(torch.autograd.grad((made * weights).sum(), wanted, allow_unused=True))


def close(one: Any, other: Any) -> None:
    assert (one is None) == (other is None)
    if one is not None:
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def alike(ours: nn.Module, peer: nn.Module, given: Any = features) -> None:
    """Values and gradients, with equal weights."""
    peer.load_state_dict(ours.state_dict())
    (one, mine), (other, yours) = slopes(ours, given()), slopes(peer, given())
    close(one, other)
    for mine_one, yours_one in zip(mine, yours, strict=True):
        close(mine_one, yours_one)


def swapped(ours: Any, peer: Any, folder: Path) -> None:
    """Each reads what the other saved."""
    for name, writer, reader in (("ours", ours, type(peer)), ("theirs", peer, type(ours))):
        at = folder / name
        at.mkdir()
        writer.save(str(at))
        read = reader.load(str(at))
        close(slopes(read, features())[0], slopes(writer, features())[0])


@pytest.mark.parametrize("mode", [*MODES, *itertools.combinations(MODES, 2), MODES])
@pytest.mark.parametrize("prompt", [None, 2])
def test_pooling(mode: Any, prompt: int | None, tmp_path: Path) -> None:
    def given() -> dict[str, Any]:
        found = features()
        if prompt:  # of which every text keeps a token
            found["attention_mask"] = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], [0, 1, 1, 1]])
            found["prompt_length"] = torch.tensor([prompt])
        return found

    ours, peer = models.Pooling(WIDTH, mode, not prompt), theirs.Pooling(WIDTH, mode, not prompt)
    alike(ours, peer, given)
    assert ours.get_config_dict() == peer.get_config_dict()
    assert ours.pooling_output_dimension == peer.pooling_output_dimension
    swapped(ours, peer, tmp_path)


ACTIVATIONS = (nn.Tanh, nn.Identity, nn.ReLU, nn.GELU, nn.SiLU, nn.Sigmoid)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("width", [WIDTH, 3])
def test_dense(activation: Any, residual: bool, width: int, tmp_path: Path) -> None:
    given = {"bias": width == 3, "activation_function": activation(), "use_residual": residual}
    ours, peer = models.Dense(WIDTH, width, **given), theirs.Dense(WIDTH, width, **given)
    alike(ours, peer)
    assert ours.get_config_dict() == peer.get_config_dict()
    swapped(ours, peer, tmp_path)


@pytest.mark.parametrize(("name", "arguments"), [("LayerNorm", (WIDTH,)), ("Normalize", ()), ("Dropout", (0.3,))])
def test_others(name: str, arguments: Any, tmp_path: Path) -> None:
    ours, peer = (getattr(home, name)(*arguments).eval() for home in (models, theirs))
    for parameter in ours.parameters():
        parameter.data += torch.linspace(-0.3, 0.4, WIDTH)
    alike(ours, peer)
    assert ours.get_config_dict() == peer.get_config_dict()
    if name != "Dropout":  # which draws once it is read anew
        swapped(ours, peer, tmp_path)


def test_dropout_draws_alike() -> None:
    made = []
    for home in (models, theirs):
        torch.manual_seed(3)
        made.append(home.Dropout(0.4).train()(features())["sentence_embedding"])
    close(*made)
    assert (made[0] == 0).any()


def test_a_mode_that_is_none() -> None:
    with pytest.raises(ValueError, match="median"):
        models.Pooling(WIDTH, "median")


def test_older_spellings() -> None:
    with pytest.warns(DeprecationWarning, match="embedding_dimension"):
        module = models.Pooling(word_embedding_dimension=WIDTH, pooling_mode_max_tokens=True)
    assert module.get_config_dict() == models.Pooling(WIDTH, "max").get_config_dict()
    assert module.get_word_embedding_dimension() == WIDTH
    assert np.isfinite(module(features())["sentence_embedding"].detach().numpy()).all()
