"""Models of words beside those of sentence-transformers: vectors, gradients, and each other's folders."""

from __future__ import annotations

import copy
import gzip
import importlib
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.models.test_tokenizer import Letters
from tests.tiny import write_bert
from vicinal import InputExample, SentenceTransformer, losses, models
from vicinal.errors import DamagedModel, DataNotFound, InvalidData, InvalidInput, UnsafeModel, UnsupportedModel

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from sentence_transformers import SentenceTransformer as Peer
    from sentence_transformers import models as theirs

pytestmark = [
    pytest.mark.filterwarnings("ignore::vicinal.errors.ZeroVectorWarning"),
    pytest.mark.filterwarnings("ignore::vicinal.errors.TruncationWarning"),
]
WORDS = ["red", "apple", "law", "tax", "green", "New_York", "is", "query"]
WEIGHTS = {"red": 2.5, "new_york": 0.25, "other": 9.0}
TABLE = np.random.default_rng(0).standard_normal((len(WORDS), 5)).astype(np.float32)
TEXTS = ["A red apple, red!", "tax law", "New York is green apple", "query", "The law is the tax of the red query."]
NOTHING = ["", "nothing known"]


def tokenizer(home: Any, kind: str = "WhitespaceTokenizer", **options: Any) -> Any:
    return getattr(importlib.import_module(f"{home.__name__}.tokenizer"), kind)(WORDS, **options)


CASES: dict[str, Any] = {
    "counts": lambda home: [home.BoW(WORDS)],
    "weighted counts": lambda home: [home.BoW([*WORDS, "red"], WEIGHTS, 0.5)],
    "words once": lambda home: [home.BoW(WORDS, WEIGHTS, 0, cumulative_term_frequency=False)],
    "counts, less wide": lambda home: [home.BoW(WORDS), home.Dense(len(WORDS), 3), home.Normalize()],
    "words": lambda home: [home.WordEmbeddings(tokenizer(home), TABLE), home.Pooling(5)],
    "phrases": lambda home: [home.WordEmbeddings(tokenizer(home, "PhraseTokenizer"), TABLE), home.Pooling(5)],
    "short": lambda home: [home.WordEmbeddings(tokenizer(home), TABLE, max_seq_length=1), home.Pooling(5)],
    "weights": lambda home: [
        home.WordEmbeddings(tokenizer(home, stop_words=()), TABLE, update_embeddings=True),
        home.WordWeights(WORDS, WEIGHTS, 0.5),
        home.Pooling(5),
    ],
    "layers": lambda home: [
        home.WordEmbeddings(tokenizer(home), TABLE), home.CNN(5, 3), home.Pooling(9, "max"), home.Dropout(0.1),
    ],
    "recurrent": lambda home: [home.WordEmbeddings(tokenizer(home), TABLE), home.LSTM(5, 4), home.Pooling(8)],
}  # fmt: skip
READ_ALL = [name for name in CASES if name not in ("layers", "recurrent")]
"""The others make no vector of no words."""


def built(name: str) -> tuple[SentenceTransformer, Any]:
    """The same model of both."""
    torch.manual_seed(0)
    peer = Peer(modules=CASES[name](theirs), device="cpu")
    found = SentenceTransformer(modules=CASES[name](models))
    found.load_state_dict(peer.state_dict())
    return found, peer


def near(found: Any, wanted: Any) -> None:
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_vectors_and_folders(name: str, tmp_path: Path) -> None:
    found, peer = built(name)
    texts = TEXTS + NOTHING if name in READ_ALL else TEXTS
    wanted = peer.encode(texts, batch_size=1)  # of several texts, its CNN sees padding
    near(found.encode(texts), wanted)
    near(np.stack([found.encode(text) for text in texts]), wanted)
    assert found.get_embedding_dimension() == peer.get_embedding_dimension() == wanted.shape[1]
    for mine, yours in zip(found, peer, strict=True):
        assert {**mine.get_config_dict(), "tokenizer_class": 0} == {**yours.get_config_dict(), "tokenizer_class": 0}
    found.save(str(tmp_path / "ours"))
    peer.save(str(tmp_path / "theirs"))
    near(Peer(str(tmp_path / "ours"), device="cpu").encode(texts, batch_size=1), wanted)
    for at in ("ours", "theirs"):
        read = SentenceTransformer(str(tmp_path / at))
        near(read.encode(texts), wanted)
        assert read.fingerprint == found.fingerprint
        assert read.backend == "torch"


@pytest.mark.parametrize("name", ["weights", "layers", "recurrent"])
def test_gradients(name: str) -> None:
    slopes = []
    for model in built(name):
        model.eval()
        made = torch.cat([model(model.preprocess([text]))["sentence_embedding"] for text in TEXTS])
        (made * torch.linspace(-1, 2, made.numel()).reshape(made.shape)).sum().backward()
        slopes.append([parameter.grad for parameter in model.parameters() if parameter.requires_grad])
    assert len(slopes[0]) > 1
    for mine, yours in zip(*slopes, strict=True):
        torch.testing.assert_close(mine, yours, rtol=1e-5, atol=1e-6)


def test_features() -> None:
    found, peer = built("words")
    mine, yours = found.preprocess([*TEXTS, "nothing"]), peer.preprocess([*TEXTS, "nothing"])
    for name in ("input_ids", "attention_mask", "sentence_lengths"):
        assert torch.equal(mine[name], yours[name])
    assert torch.equal(found.preprocess(["nothing"])["input_ids"], peer.preprocess(["nothing"])["input_ids"])
    found.max_seq_length = peer.max_seq_length = 2
    near(found.encode(TEXTS), peer.encode(TEXTS))
    near(found.encode(TEXTS, prompt="tax "), peer.encode(TEXTS, prompt="tax "))
    bags = built("counts")
    near(bags[0][0].get_sentence_features([[0, 0, 2], []])["sentence_embedding"],
         bags[1][0].get_sentence_features([[0, 0, 2], []])["sentence_embedding"])  # fmt: skip


def test_a_tokenizer_of_transformers(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    given = AutoTokenizer.from_pretrained(str(write_bert(tmp_path / "bert")))
    table = np.random.default_rng(1).standard_normal((len(given), 3)).astype(np.float32)
    peer = Peer(modules=[theirs.WordEmbeddings(given, table), theirs.Pooling(3)], device="cpu")
    found = SentenceTransformer(modules=[models.WordEmbeddings(given, table), models.Pooling(3)])
    near(found.encode(TEXTS), peer.encode(TEXTS))
    for name, writer in (("ours", found), ("theirs", peer)):
        writer.save(str(tmp_path / name))
        near(SentenceTransformer(str(tmp_path / name)).encode(TEXTS), peer.encode(TEXTS))
    near(Peer(str(tmp_path / "ours"), device="cpu").encode(TEXTS), peer.encode(TEXTS))


def test_training_changes_the_words(tmp_path: Path) -> None:
    found, _ = built("weights")
    before, name = found.encode(TEXTS), found.fingerprint
    examples = [InputExample(texts=[one, other]) for one in TEXTS[:2] for other in TEXTS[2:]]
    loader = torch.utils.data.DataLoader(examples, batch_size=3)
    found.fit([(loader, losses.MultipleNegativesRankingLoss(found))], epochs=1, warmup_steps=0, show_progress_bar=False,
              optimizer_params={"lr": 0.1})  # fmt: skip
    learnt = found.encode(TEXTS)
    assert np.abs(learnt - before).max() > 1e-2
    assert found.fingerprint != name
    found.save(str(tmp_path / "model"))
    near(SentenceTransformer(str(tmp_path / "model")).encode(TEXTS), learnt)
    for twin in (copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
        near(twin.encode(TEXTS), learnt)


def test_a_large_vocabulary_is_counted_in_small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vicinal.models.words._COUNTS", 3 * len(WORDS))
    found, peer = built("counts")
    seen = []
    count = found[0].batch
    monkeypatch.setattr(found[0], "batch", lambda tokens, rows: seen.append(len(rows)) or count(tokens, rows))
    near(found.encode(TEXTS * 2), peer.encode(TEXTS * 2))
    assert max(seen) == 3


def write_words(path: Path, lines: list[str]) -> str:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    return str(path)


@pytest.mark.parametrize("name", ["words.txt", "words.txt.gz"])
@pytest.mark.parametrize("options", [{}, {"max_vocab_size": 2}, {"update_embeddings": True}])
@pytest.mark.parametrize("head", [[], ["3 2"]])
def test_vectors_from_a_file(name: str, options: Any, head: list[str], tmp_path: Path) -> None:
    path = write_words(tmp_path / name, [*head, "red 1 0.5", "apple -2 0", "tax 1e-3 4"])
    modules = [[home.WordEmbeddings.from_text_file(path, **options), home.Pooling(2)] for home in (models, theirs)]
    mine, yours = (way[0] for way in modules)
    assert mine.tokenizer.get_vocab() == yours.tokenizer.get_vocab()
    torch.testing.assert_close(mine.emb_layer.weight, yours.emb_layer.weight)
    assert mine.emb_layer.weight.requires_grad == yours.emb_layer.weight.requires_grad
    near(SentenceTransformer(modules=modules[0]).encode(TEXTS), Peer(modules=modules[1], device="cpu").encode(TEXTS))


def test_words_that_a_file_has_twice_or_with_spaces(tmp_path: Path) -> None:
    path = write_words(tmp_path / "words", ["red 1 2", "new york 3 4", "red 5 6"])
    module = models.WordEmbeddings.from_text_file(path)
    assert module.tokenizer.get_vocab() == ["PADDING_TOKEN", "red", "new york"]
    assert module.emb_layer.weight.tolist() == [[0, 0], [5, 6], [3, 4]]


@pytest.mark.parametrize(("lines", "message"), [
    (["red 1 2", "apple 1"], r"line 2: a word and 2 numbers are expected, got 'apple 1'"),
    (["red 1 2", "apple 1 x"], "line 2"),
    (["3 2"], "no line"),
])  # fmt: skip
def test_a_file_that_is_none(lines: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match=message):
        models.WordEmbeddings.from_text_file(write_words(tmp_path / "words", lines))
    with pytest.raises(DataNotFound, match="elsewhere"):
        models.WordEmbeddings.from_text_file(str(tmp_path / "elsewhere"))


def test_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="WordTokenizer"):
        models.WordEmbeddings("red", TABLE)
    with pytest.raises(ValueError, match=r"\(5,\)"):
        models.WordEmbeddings(tokenizer(models), TABLE[0])
    found, _ = built("words")
    with pytest.raises(InvalidInput, match="pairs"):
        found.encode([("red", "apple")])
    wrong = SentenceTransformer(modules=[models.WordEmbeddings(tokenizer(models), TABLE[:3]), models.Pooling(5)])
    with pytest.raises(DamagedModel, match="number 3, but the model has 3 words"):
        wrong.encode("tax")


def test_a_users_own_tokenizer_runs_where_it_is_trusted(tmp_path: Path) -> None:
    found = SentenceTransformer(modules=[models.WordEmbeddings(Letters(), TABLE[:3]), models.Pooling(5)])
    near(found.encode(["ab"]), TABLE[:2].mean(0, keepdims=True))
    found.save(str(tmp_path))
    with pytest.raises(UnsafeModel, match="Letters"):
        SentenceTransformer(str(tmp_path))
    module = models.WordEmbeddings.load(str(tmp_path), trust_remote_code=True)
    assert module.tokenizer.tokenize("cb") == [2, 1]


@pytest.mark.parametrize("backend", ["openvino", "onnx", "numpy"])
def test_other_backends_refuse_by_name(backend: str, tmp_path: Path) -> None:
    built("counts")[0].save(str(tmp_path))
    with pytest.raises(UnsupportedModel, match="BoW"):
        SentenceTransformer(str(tmp_path), backend=backend)
