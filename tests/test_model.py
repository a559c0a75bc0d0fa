"""Settings, copies, closing, and what a model says of itself."""

from __future__ import annotations

import copy
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import tiny
from vicinal import SentenceTransformer, SimilarityFunction

TEXTS = ["red apple", "the tax law", "", "query: the green"]


def load(folder: Path, **options: Any) -> SentenceTransformer:
    return SentenceTransformer(folder, **{"dtype": "float32", "threads": 1, **options})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.write_bert(tmp_path / "model", settings={"prompts": {"query": "query: "}})


@pytest.fixture
def model(folder: Path) -> SentenceTransformer:
    return load(folder)


def test_what_it_is(model: SentenceTransformer, folder: Path) -> None:
    assert repr(model).splitlines() == [
        f"SentenceTransformer({str(folder)!r} from folder, backend='openvino', dtype='float32', device='cpu', "
        "threads=1, dims=22, max_seq_length=17)",
        "  Transformer(architecture='bert')",
        "  Pooling(width=22, modes=('mean',), include_prompt=True)",
        "  Normalize(source='sentence_embedding', target='sentence_embedding')",
    ]
    assert (model.backend, model.dtype, model.device) == ("openvino", "float32", "cpu")
    assert model.get_max_seq_length() == model.max_seq_length == 17
    assert model.get_sentence_embedding_dimension() == model.get_embedding_dimension() == 22
    assert model.similarity_fn_name == "cosine"
    assert model.prompts == {"query": "query: ", "document": ""}
    assert model.default_prompt_name is None
    assert model.truncate_dim is None


def test_the_length(model: SentenceTransformer) -> None:
    long = "red " * 60
    for length in (3, 9, 41):
        model.max_seq_length = length
        assert len(model.encode(long, output_value="token_embeddings", truncation="ignore")) == length
        assert model.tokenize([long])["input_ids"].shape == (1, length)
    model.max_seq_length = None
    assert model.max_seq_length == tiny.POSITIONS
    for wrong in (0, -1, 2.5, "9", True):
        with pytest.raises(ValueError, match=f"max_seq_length must be a positive number of tokens, not {wrong!r}"):
            model.max_seq_length = wrong  # type: ignore[assignment]
    with pytest.raises(ValueError, match="max_seq_length=42 is more than the 41 positions that this model's network"):
        model.max_seq_length = 42
    assert model.max_seq_length == tiny.POSITIONS


def test_a_static_model_has_no_limit_but_the_users(tmp_path: Path) -> None:
    model = load(tiny.write_static(tmp_path / "static"))
    assert model.max_seq_length is None
    model.max_seq_length = 2
    np.testing.assert_array_equal(model.encode("red apple tax", truncation="ignore"), model.encode("red apple"))


def test_prompts_are_a_copy(model: SentenceTransformer) -> None:
    model.prompts["query"] = "changed"
    assert model.prompts["query"] == "query: "
    mine = {"query": "mine ", "none": None}
    model.prompts = mine
    mine["query"] = "changed"
    assert model.prompts == {"query": "mine ", "none": ""}
    np.testing.assert_allclose(model.encode_query("red"), model.encode("mine red"), atol=2e-6)
    model.default_prompt_name = "query"
    np.testing.assert_allclose(model.encode("red"), model.encode_query("red"), atol=2e-6)
    with pytest.raises(ValueError, match="default_prompt_name='nope' is none of this model's prompts"):
        model.default_prompt_name = "nope"
    assert model.default_prompt_name == "query"


def test_similarity_functions(model: SentenceTransformer) -> None:
    for name in ("cosine", "dot", "euclidean", "manhattan"):
        model.similarity_fn_name = name
        assert model.similarity_fn_name == name
        model.similarity_fn_name = SimilarityFunction(name)
        assert model.similarity_fn_name == name
    with pytest.raises(ValueError, match="'hamming' is not a similarity function"):
        model.similarity_fn_name = "hamming"
    assert model.similarity_fn_name == "manhattan"


def test_dimensions(model: SentenceTransformer) -> None:
    whole = model.encode(TEXTS)
    model.truncate_dim = 5
    assert model.get_embedding_dimension() == 5
    np.testing.assert_array_equal(model.encode(TEXTS), whole[:, :5])
    with model.truncate_embeddings(3):
        assert model.encode(TEXTS).shape == (4, 3)
        with model.truncate_sentence_embeddings(None):
            assert model.encode(TEXTS).shape == (4, 22)
        assert model.truncate_dim == 3
    assert model.truncate_dim == 5
    with pytest.raises(KeyError), model.truncate_embeddings(3):
        raise KeyError
    assert model.truncate_dim == 5
    model.truncate_dim = 500
    assert model.get_embedding_dimension() == 22
    for wrong in (0, -1, 1.5, "5", True):
        with pytest.raises(ValueError, match=f"truncate_dim must be a positive integer or None, not {wrong!r}"):
            model.truncate_dim = wrong  # type: ignore[assignment]


def test_the_tokenizer_is_a_copy(model: SentenceTransformer) -> None:
    before = model.encode("red apple tax law")
    tokenizer = model.tokenizer
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=9)
    tokenizer.add_tokens(["red apple"])
    np.testing.assert_array_equal(model.encode("red apple tax law"), before)
    assert model.tokenizer.truncation is None


def test_tokenize(model: SentenceTransformer) -> None:
    ids = model.tokenize(["red apple", "tax"])
    cls, sep, red, apple, tax = (tiny.VOCABULARY.index(t) for t in ("[CLS]", "[SEP]", "red", "apple", "tax"))
    assert ids["input_ids"].tolist() == [[cls, red, apple, sep], [cls, tax, sep, 0]]
    assert ids["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert ids["token_type_ids"].tolist() == [[0] * 4] * 2
    assert model.preprocess("tax", prompt="the ")["input_ids"][0, 2] == tax
    with pytest.raises(TypeError, match=r"tokenize\(\) got unknown arguments: padding"):
        model.tokenize(["red"], padding=True)


def test_a_copy_is_independent(model: SentenceTransformer) -> None:
    before = model.encode(TEXTS)
    model.model_card_data = {"tags": ["a"]}
    twin = copy.deepcopy(model)
    np.testing.assert_array_equal(twin.encode(TEXTS), before)
    twin.truncate_dim = 3
    twin.max_seq_length = 4
    twin.prompts = {}
    twin.set_pooling_include_prompt(False)
    twin.model_card_data["tags"].append("b")
    assert model.model_card_data == {"tags": ["a"]}
    assert (model.truncate_dim, model.max_seq_length) == (None, 17)
    assert model.prompts == {"query": "query: ", "document": ""}
    np.testing.assert_array_equal(model.encode(TEXTS), before)
    assert twin.encode(TEXTS, truncation="ignore").shape == (4, 3)
    assert copy.copy(model).encode("red").shape == (22,)


@pytest.mark.parametrize("write", [tiny.write_bert, tiny.write_static])
@pytest.mark.parametrize("backend", ["openvino", "onnx", "numpy"])
def test_a_pickle_needs_no_folder(write: Any, backend: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "model")
    model = load(folder, backend=backend)
    model.truncate_dim = 5
    before, name = model.encode(TEXTS[:2]), model.fingerprint
    data = pickle.dumps(model)
    del model
    shutil.rmtree(folder)
    again = pickle.loads(data)
    np.testing.assert_array_equal(again.encode(TEXTS[:2]), before)
    assert again.fingerprint == name
    assert (again.truncate_dim, again.backend) == (5, backend)
    again.save(tmp_path / "saved")
    np.testing.assert_array_equal(load(tmp_path / "saved", backend=backend).encode(TEXTS[:2]), before)


def test_a_pickle_in_another_process(model: SentenceTransformer, tmp_path: Path) -> None:
    (tmp_path / "pickle").write_bytes(pickle.dumps(model))
    code = (
        "import pickle, sys, numpy as np\n"
        "model = pickle.load(open(sys.argv[1], 'rb'))\n"
        "sys.stdout.buffer.write(model.encode(['red apple', 'tax']).tobytes())\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "pickle")], capture_output=True, check=True)
    np.testing.assert_array_equal(np.frombuffer(done.stdout, np.float32), model.encode(["red apple", "tax"]).ravel())


def test_closing(folder: Path) -> None:
    with load(folder) as model:
        assert model.encode("red").shape == (22,)
    model.close()
    with pytest.raises(ValueError, match="this model is closed; load it again"):
        model.encode("red")
    with pytest.raises(ValueError, match="this model is closed"):
        next(iter(model.encode_iter(["red"])))
    with pytest.raises(KeyError), load(folder) as model:
        raise KeyError
    with pytest.raises(ValueError, match="this model is closed"):
        model.encode("red")


def test_closing_while_others_encode(folder: Path) -> None:
    model = load(folder)
    vectors = model.encode_iter(["red apple"] * 3 + ["tax"] * 5000)
    next(vectors)
    model.close()
    assert next(vectors).shape == (22,)  # what was begun is not pulled away


def test_a_closed_model_is_not_saved_or_named(tmp_path: Path) -> None:
    """Its weights are gone: a folder without them must not replace a whole one."""
    tiny.write_bert(tmp_path / "model")
    model = SentenceTransformer(tmp_path / "model", dtype="float32")
    model.close()
    for use in (lambda: model.save(tmp_path / "model"), lambda: model.fingerprint, lambda: pickle.dumps(model)):
        with pytest.raises(ValueError, match="this model is closed"):
            use()
    assert (tmp_path / "model" / "model.safetensors").is_file()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_forked_child_is_told_instead_of_hanging(tmp_path: Path) -> None:
    code = """
import os, sys, warnings
warnings.simplefilter("ignore")
from vicinal import SentenceTransformer, errors
model = SentenceTransformer(sys.argv[1], dtype="float32")
model.encode("red")
if child := os.fork():
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
else:
    try:
        model.encode("red")
    except errors.Unavailable as error:
        os._exit(7 if "forked" in str(error) else 8)
    os._exit(9)
"""
    folder = tiny.write_bert(tmp_path / "model")
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "7", done.stderr
