"""Folders saved here load in sentence-transformers with the same vectors and settings, and the other way round."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vicinal

peer = pytest.importorskip(
    "sentence_transformers", reason="compares with sentence-transformers, which is not installed"
)

# Last named, first matched: warnings of the peer and its libraries are theirs.
pytestmark = [
    pytest.mark.filterwarnings("default"),
    pytest.mark.filterwarnings("ignore::vicinal.errors.VicinalWarning"),
]

TINY = Path(__file__).parent.parent / "fixtures" / "tiny"
DATA = json.loads((TINY / "cases.json").read_text(encoding="utf-8"))
CASES = {case["name"]: case for case in DATA["cases"]}
OURS = (
    "bert-relu-coarse-norm", "plain-folder-gamma-beta", "sharded", "pooling-all", "pooling-list", "dense-gelu",
    "dense-residual-projected", "layer-norm", "normalize-then-dense", "static-model2vec-mapped", "router", "cased",
    "lower-by-sentence-config", "vocabulary-cased", "long-words", "cut-on-the-left", "options", "prompt-excluded-all",
)  # fmt: skip
THEIRS = (
    "bert-gelu-new", "pooling-list", "dense-residual-projected", "layer-norm", "static-normalize", "router", "cased",
    "lower-by-sentence-config", "options", "prompt-excluded-all",
)  # fmt: skip
TEXTS = ["the red fox", "a king and a queen", "", "how old are cats?"]
CLOSE = 3e-5


@pytest.fixture(autouse=True)
def quiet() -> Any:
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)


@pytest.mark.parametrize("name", OURS)
def test_they_load_what_we_save(name: str, tiny_folder: Any, tmp_path: Path) -> None:
    ours = vicinal.SentenceTransformer(tiny_folder(CASES[name]), dtype="float32")
    ours.save(tmp_path / "saved")
    theirs = peer.SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    wanted = ours.encode(TEXTS)
    found = theirs.encode(TEXTS)
    assert np.abs(found.astype(np.float32) - wanted).max() <= CLOSE * np.abs(wanted).max()
    assert theirs.prompts == ours.prompts
    assert theirs.similarity_fn_name == ours.similarity_fn_name
    assert theirs.truncate_dim == ours.truncate_dim
    again = vicinal.SentenceTransformer(tmp_path / "saved", dtype="float32")
    assert again.fingerprint == ours.fingerprint
    assert again.max_seq_length == ours.max_seq_length


@pytest.mark.parametrize("name", THEIRS)
def test_we_load_what_they_save(name: str, tiny_folder: Any, tmp_path: Path) -> None:
    theirs = peer.SentenceTransformer(str(tiny_folder(CASES[name])), device="cpu").float()
    theirs.save_pretrained(str(tmp_path / "saved"), create_model_card=False)
    ours = vicinal.SentenceTransformer(tmp_path / "saved", dtype="float32")
    wanted = theirs.encode(TEXTS)
    assert np.abs(ours.encode(TEXTS) - wanted).max() <= CLOSE * np.abs(wanted).max()


def test_changed_settings_travel(minilm: Any, tmp_path: Path) -> None:
    import copy

    ours = copy.deepcopy(minilm)
    ours.max_seq_length = 12
    ours.prompts = {"query": "find: ", "document": ""}
    ours.default_prompt_name = "query"
    ours.similarity_fn_name = "dot"
    ours.truncate_dim = 100
    ours.save(tmp_path / "saved")
    theirs = peer.SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    text = "a long text about the care of potted plants in winter, and of their owners"
    with pytest.warns(vicinal.errors.TruncationWarning):
        wanted = ours.encode(text)
    assert np.abs(theirs.encode(text) - wanted).max() < 1e-5
    assert (theirs.max_seq_length, theirs.default_prompt_name, theirs.truncate_dim) == (12, "query", 100)
    assert theirs.similarity_fn_name == "dot"
