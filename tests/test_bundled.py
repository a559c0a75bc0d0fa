"""The model that comes with vicinal, as it is shipped."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np
import pytest

from vicinal import SentenceTransformer
from vicinal.loading.opening import BUNDLED
from vicinal.text.words import WordCache

_LARGEST = 8_000_000
_SOURCES = ("Open English WordNet", "MASC", "arXiv", "Wikipedia", "Darwin", "MedQuAD", "tldr-pages", "Banking77",
            "Tatoeba", "NTREX-128", "XQuAD", "Counterfactually-augmented SNLI")  # fmt: skip
# a text, another way to say it, and one that shares its topic or its words but not what it says
_TRIPLES = [
    ("How do I reset my password?", "I forgot my login code and need a new one", "How do I boil an egg?"),
    ("A child is playing with a ball in the garden", "A kid plays ball outside", "The bank raised its interest rates"),
    ("The doctor gave her medicine against the fever", "A physician treated the patient's high temperature",
     "The lawyer gave her advice on the contract"),
    ("The flight to Rome was cancelled", "Our plane to Italy did not leave", "The recipe calls for fresh basil"),
    ("Delete a file from the command line", "Remove a document in the terminal", "The sun rises in the east"),
    ("The car would not start this morning", "My vehicle broke down today", "The choir sang beautifully tonight"),
    ("Heavy rain flooded the streets", "Roads were under water after the storm", "She paints portraits in oil"),
    ("Neural networks learn from data", "Training deep models on examples", "The horse ran across the meadow"),
    ("He bought a cheap second-hand bicycle", "He purchased an inexpensive used bike", "He wrote a long angry letter"),
    ("The company fired half of its staff", "The firm laid off many employees", "The dog chased the cat up a tree"),
]  # fmt: skip

_OFFLINE = """
import json, socket, sys

def refuse(*args, **kwargs):
    raise AssertionError("the network was asked")

socket.socket.connect = socket.socket.connect_ex = socket.create_connection = socket.getaddrinfo = refuse
from vicinal import SentenceTransformer
vector = SentenceTransformer().encode("a text")
heavy = {"openvino", "torch", "huggingface_hub", "transformers", "scipy", "pandas"} & set(sys.modules)
print(json.dumps({"dims": vector.shape, "heavy": sorted(heavy)}))
"""


@pytest.fixture(scope="module")
def model() -> SentenceTransformer:
    return SentenceTransformer()


def test_the_weights_are_small() -> None:
    assert (BUNDLED / "model.safetensors").stat().st_size <= _LARGEST


def test_it_needs_neither_network_nor_heavy_libraries() -> None:
    done = subprocess.run([sys.executable, "-c", _OFFLINE], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"dims": [256], "heavy": []}


def test_what_it_is(model: SentenceTransformer) -> None:
    assert model.get_embedding_dimension() == 256
    assert model.backend == "numpy"
    assert model.max_seq_length is None
    assert model.similarity_fn_name == "cosine"


def test_every_token_has_a_vector_of_its_own_length(model: SentenceTransformer) -> None:
    tokenizer = model.tokenizer
    words = [tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size())]
    texts = [word for word in words if word.isalnum()]
    vectors = model.encode(texts)
    assert len(texts) > 20_000
    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_a_text_without_tokens_is_the_zero_vector(model: SentenceTransformer) -> None:
    with pytest.warns(UserWarning, match="zero"):
        assert not model.encode("").any()


@pytest.mark.parametrize(("text", "same", "other"), _TRIPLES)
def test_meaning_orders_texts(model: SentenceTransformer, text: str, same: str, other: str) -> None:
    a, b, c = model.encode([text, same, other])
    assert a @ b > a @ c + 0.1


def test_leading_dimensions_keep_the_order(model: SentenceTransformer) -> None:
    flat = [text for triple in _TRIPLES for text in triple]
    vectors = model.encode(flat, truncate_dim=64, normalize_embeddings=True).reshape(len(_TRIPLES), 3, 64)
    same, other = (np.einsum("td,td->t", vectors[:, 0], vectors[:, i]) for i in (1, 2))
    assert (same > other).all()


def test_questions_find_their_answers(model: SentenceTransformer) -> None:
    answers = [
        "Parcels arrive within three to five working days.",
        "You may return unworn clothes within thirty days for a full refund.",
        "We accept credit cards, bank transfer and cash.",
        "Our office is closed at weekends and on public holidays.",
        "Wash the shirt in cold water and do not iron the print.",
    ]
    questions = ["When will my package be delivered?", "Can I send the jacket back and get my money?",
                 "How can I pay?", "Are you open on Sunday?", "How do I clean this garment?"]  # fmt: skip
    scores = model.encode(questions) @ model.encode(answers).T
    assert scores.argmax(1).tolist() == [0, 1, 2, 3, 4]


def test_its_tokenizer_takes_the_short_way(model: SentenceTransformer) -> None:
    assert WordCache.fits(model.tokenizer)
    assert (model.tokenizer.truncation, model.tokenizer.padding) == (None, None)


@pytest.mark.parametrize("source", _SOURCES)
def test_its_card_names_each_source_with_a_licence(source: str) -> None:
    lines = (BUNDLED / "README.md").read_text("utf-8").splitlines()
    rows = [line for line in lines if line.startswith("|") and source in line]
    assert rows
    licences = ("CC BY", "CC0", "Apache-2.0", "public domain", "MASC open")
    assert all(any(licence in row.split("|")[-2] for licence in licences) for row in rows), rows


def test_its_card_counts_all_texts() -> None:
    card = (BUNDLED / "README.md").read_text("utf-8")
    table = card[card.index("## What it was made from") :]
    counts = [int(cell.replace(",", "")) for cell in re.findall(r"\| ([\d,]+) \|", table)]
    assert f"each of {sum(counts):,} texts" in card


def test_its_card_says_what_it_was_not_trained_on() -> None:
    card = (BUNDLED / "README.md").read_text("utf-8")
    assert "No sentence of STS-B" in card
    assert "all-MiniLM-L6-v2" in card
