"""A model's torch modules: the same vectors as its fast form, before training and after."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.tiny import write_bert, write_static
from vicinal import SentenceTransformer

TEXTS = ["a red apple", "law", "the tax law - query: green apple.", "red " * 9]


def near(found: Any, wanted: Any) -> None:
    np.testing.assert_allclose(found, wanted, atol=2e-5)


@pytest.fixture(params=[write_bert, write_static], ids=["bert", "static"])
def folder(request: Any, tmp_path: Path) -> Path:
    made: Path = request.param(tmp_path / "model")
    return made


def model(folder: Path) -> SentenceTransformer:
    return SentenceTransformer(str(folder), dtype="float32", threads=1)


def step(found: SentenceTransformer) -> None:
    """One step of an optimizer that changes every vector."""
    module = found.trainable()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.5)
    vectors = module(module.preprocess(TEXTS))["sentence_embedding"]
    (vectors * torch.linspace(-1, 1, vectors.shape[1])).sum().backward()
    optimizer.step()


def test_vectors_are_those_of_the_fast_form(folder: Path) -> None:
    found = model(folder)
    before, name = found.encode(TEXTS), found.fingerprint
    module = found.trainable()
    with torch.inference_mode():
        near(module(module.preprocess(TEXTS))["sentence_embedding"].numpy(), before)
    near(found.encode(TEXTS), before)
    assert found.refresh().backend != "torch"
    near(found.encode(TEXTS), before)
    assert found.fingerprint == name


def test_what_was_learnt_is_in_the_fast_form(folder: Path) -> None:
    found = model(folder)
    before, name = found.encode(TEXTS), found.fingerprint
    step(found)
    learnt = found.encode(TEXTS)
    assert found.backend == "torch"
    assert np.abs(learnt - before).max() > 1e-2
    found.refresh()
    assert found.backend != "torch"
    near(found.encode(TEXTS), learnt)
    assert found.fingerprint != name
    found.save(folder.parent / "saved")
    near(model(folder.parent / "saved").encode(TEXTS), learnt)


@pytest.mark.parametrize("refreshed", [False, True])
def test_copies_are_their_own(folder: Path, refreshed: bool) -> None:
    found = model(folder)
    step(found)
    if refreshed:
        found.refresh()
    learnt = found.encode(TEXTS)
    for twin in (copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
        near(twin.encode(TEXTS), learnt)
        step(twin)
        assert np.abs(twin.encode(TEXTS) - learnt).max() > 1e-2
        near(found.encode(TEXTS), learnt)
