"""A model's torch modules: the same vectors as its fast form, before training and after."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
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


@pytest.mark.filterwarnings("ignore::vicinal.errors.TruncationWarning")
def test_a_modules_setting_is_the_models(tmp_path: Path) -> None:
    """Set on a torch module it counts as one that is set on the model, and torch computes as for a weight."""
    folder = write_bert(tmp_path / "model")
    plain = model(folder)
    shorter, first = model(folder), model(folder)
    shorter.max_seq_length = 4
    found = model(folder)
    found[0].max_seq_length = 4
    assert found.max_seq_length == 4
    near(found.encode(TEXTS), shorter.encode(TEXTS))
    assert (found.backend, found.refresh().backend) == ("torch", "openvino")
    near(found.encode(TEXTS), shorter.encode(TEXTS))
    first[1].pooling_mode = "cls"
    assert np.abs(first.encode(TEXTS) - plain.encode(TEXTS)).max() > 1e-3
    found = model(folder)
    assert found[0].max_seq_length == plain.max_seq_length  # there are modules now
    found.max_seq_length = 4
    found.set_pooling_include_prompt(False)
    assert found.backend == "openvino"  # both forms have it
    near(found.encode(TEXTS), shorter.encode(TEXTS))
    replaced = next(found.parameters())
    found.refresh()
    replaced.data = replaced.data * 0.5
    assert found.backend == "torch"


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_change_is_seen_by_who_copies_first(folder: Path, copied: Any) -> None:
    found = model(folder)
    found[0]
    with torch.no_grad():
        for weight in found._torch.module.parameters():
            weight.mul_(0.5).add_(0.1)
    twin = copied(found)
    near(twin.encode(TEXTS), found.encode(TEXTS))
    assert twin.backend == "torch"
    fast = model(folder)
    fast[0]
    assert copied(fast).backend == fast.backend != "torch"  # nothing was changed


def test_threads_have_their_own_options_and_no_dropout(tmp_path: Path) -> None:
    from vicinal import models

    class Mood(models.Module):  # type: ignore[misc]
        forward_kwargs = {"mood"}  # noqa: RUF012

        def forward(self, features: Any, mood: float = 0.0, **_: Any) -> Any:
            features["sentence_embedding"] = features["sentence_embedding"] * 0 + mood
            return features

    folder = write_bert(tmp_path / "model", config={"hidden_dropout_prob": 0.5})
    modules = list(model(folder))
    moody = SentenceTransformer(modules=[*modules, Mood()])

    def own(i: int) -> bool:
        return all((moody.encode(TEXTS, mood=float(i)) == i).all() for _ in range(40))

    with ThreadPoolExecutor(2) as threads:
        assert all(threads.map(own, range(1, 9)))
    found = SentenceTransformer(str(folder), backend="torch")
    texts = [f"red {'apple ' * (i % 9)} law {i}" for i in range(200)]
    wanted = found.encode(texts)
    found.train()
    with ThreadPoolExecutor(2) as threads:
        short = threads.submit(lambda: [found.encode(texts[:5]) for _ in range(50)])
        for _ in range(5):
            near(found.encode(texts, batch_size=2), wanted)
        short.result()
    assert all(module.training for module in found.modules())


def test_late_chunks_in_torch(tmp_path: Path) -> None:
    folder, text = write_bert(tmp_path / "model"), ["red apple tax. green the law."]
    wanted = model(folder).encode_document(text, long="late", chunk_tokens=6)
    found = SentenceTransformer(str(folder), backend="torch").encode_document(text, long="late", chunk_tokens=6)
    near(found.vectors, wanted.vectors)
