"""Saving: what was set comes back, what stood there stays, what fails leaves the old folder whole."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests import tiny
from vicinal import SentenceTransformer
from vicinal.errors import UnsafeModel, UnsupportedModel, ZeroVectorWarning
from vicinal.loading import save as saving


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test pulls the plug: what the disk has when is not waited for."""
    monkeypatch.setattr("os.fsync", lambda _: None)


TEXTS = ["red apple", "the tax law " * 9, "", "query: the green"]
PAIRS = [("red", "apple"), ("the tax law " * 9, "green " * 20)]


def load(folder: Path, **options: Any) -> SentenceTransformer:
    return SentenceTransformer(folder, dtype="float32", threads=1, **options)


def encode(model: SentenceTransformer, texts: list[Any] = TEXTS) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZeroVectorWarning)  # of the empty text, where a model is static
        return np.asarray(model.encode(texts, truncation="ignore"))


def write_plain(folder: Path, **options: Any) -> Path:
    return tiny.write_bert(folder, **options)


def write_dense(folder: Path) -> Path:
    """Two poolings in an order of their own, Dense with all its settings, LayerNorm."""
    rng = np.random.default_rng(1)
    listed = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Dense", "2_Dense"), ("LayerNorm", "3_LayerNorm")]
    tiny.write_bert(
        folder,
        listed=listed,
        pooling={"embedding_dimension": tiny.WIDTH, "pooling_mode": ["max", "cls"], "include_prompt": False},
    )
    dense = {"in_features": 44, "out_features": 13, "bias": False, "use_residual": True,
             "activation_function": "torch.nn.modules.activation.GELU"}  # fmt: skip
    tiny.write_json(folder / "2_Dense/config.json", dense)
    tiny.write_json(folder / "3_LayerNorm/config.json", {"dimension": 13})
    matrices = {f"{name}.weight": rng.standard_normal((13, 44)).astype("f4") for name in ("linear", "residual")}
    save_file(matrices, folder / "2_Dense/model.safetensors")
    vectors = {f"norm.{name}": rng.standard_normal(13).astype("f4") for name in ("weight", "bias")}
    save_file(vectors, folder / "3_LayerNorm/model.safetensors")
    return folder


def write_router(folder: Path) -> Path:
    """Queries through a static model, documents through a BERT, both normalised."""
    tiny.write_bert(folder / "document")
    tiny.write_static(folder / "query", width=tiny.WIDTH)
    tiny.write_json(folder / "modules.json", tiny.modules(("Router", ""), ("Normalize", "1_Normalize")))
    types = {
        "query": "sentence_transformers.models.StaticEmbedding",
        "document": "sentence_transformers.models.Transformer",
        "document/1_Pooling": "sentence_transformers.models.Pooling",
    }
    structure = {"query": ["query"], "document": ["document", "document/1_Pooling"]}
    config = {"types": types, "structure": structure, "parameters": {"default_route": "document"}}
    tiny.write_json(folder / "router_config.json", config)
    return folder


def write_prefixed(folder: Path) -> Path:
    return tiny.write_bert(folder, tensors={f"bert.{name}": array for name, array in tiny.bert_tensors().items()})


def write_half(folder: Path) -> Path:
    return tiny.write_bert(folder, tensors={name: array.astype("f2") for name, array in tiny.bert_tensors().items()})


def write_vocabulary(folder: Path) -> Path:
    """vocab.txt, a tokenizer that keeps case and accents, and a sentence configuration that asks to lower-case."""
    tiny.write_bert(folder, sentence={"max_seq_length": 17, "do_lower_case": True})
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("\n".join(tiny.VOCABULARY), "utf-8")
    tiny.write_json(folder / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "do_lower_case": False})
    return folder


def write_model2vec(folder: Path) -> Path:
    tiny.write_static(folder)
    (folder / "modules.json").unlink()
    tiny.write_json(folder / "config.json", {"model_type": "model2vec", "normalize": True})
    save_file({"embeddings": load_file(folder / "model.safetensors")["embedding.weight"]}, folder / "model.safetensors")
    return folder


MAKERS: dict[str, Callable[[Path], Path]] = {
    make.__name__.removeprefix("write_"): make
    for make in (write_plain, write_dense, write_prefixed, write_half, write_vocabulary, tiny.write_static,
                 write_model2vec, write_router)
}  # fmt: skip
each_model = pytest.mark.parametrize("kind", MAKERS)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@each_model
def test_saved_and_loaded(kind: str, tmp_path: Path) -> None:
    model = load(MAKERS[kind](tmp_path / "model"))
    model.save(tmp_path / "saved")
    again = load(tmp_path / "saved")
    assert again.fingerprint == model.fingerprint
    np.testing.assert_array_equal(encode(again), encode(model))
    np.testing.assert_array_equal(encode(again, PAIRS), encode(model, PAIRS))
    np.testing.assert_array_equal(again.encode_query(TEXTS[:1]), model.encode_query(TEXTS[:1]))
    np.testing.assert_array_equal(again.encode_document(TEXTS[:1]), model.encode_document(TEXTS[:1]))
    assert again.max_seq_length == model.max_seq_length


@each_model
def test_saving_twice_writes_the_same(kind: str, tmp_path: Path) -> None:
    load(MAKERS[kind](tmp_path / "model")).save(tmp_path / "first", "name")
    load(tmp_path / "first").save(tmp_path / "second", "name")
    first, second = files(tmp_path / "first"), files(tmp_path / "second")
    if kind == "vocabulary":  # what was to be lower-cased first does so by itself, once it is a tokenizer.json
        assert b"true" in first.pop("sentence_bert_config.json")
        assert b"false" in second.pop("sentence_bert_config.json")
    assert second == first


@pytest.mark.parametrize("kind", ["plain", "static"])
def test_settings_are_saved(kind: str, tmp_path: Path) -> None:
    model = load(MAKERS.get(kind, tiny.write_static)(tmp_path / "model"))
    model.max_seq_length = 7
    model.prompts = {"query": "query: ", "mine": "- "}
    model.default_prompt_name = "mine"
    model.similarity_fn_name = "dot"
    model.truncate_dim = 5
    model.save(tmp_path / "saved")
    again = load(tmp_path / "saved")
    assert again.prompts == {"document": "", **model.prompts}
    for name in ("default_prompt_name", "similarity_fn_name", "truncate_dim", "max_seq_length", "fingerprint"):
        assert getattr(again, name) == getattr(model, name), name
    np.testing.assert_array_equal(encode(again), encode(model))


def test_pooling_without_the_prompt_is_saved(tmp_path: Path) -> None:
    model = load(tiny.write_bert(tmp_path / "model"))
    before = model.encode("red apple", prompt="query: ")
    model.set_pooling_include_prompt(False)
    model.save(tmp_path / "saved")
    after = load(tmp_path / "saved").encode("red apple", prompt="query: ")
    np.testing.assert_array_equal(after, model.encode("red apple", prompt="query: "))
    assert np.abs(after - before).max() > 0.01


def test_a_configuration_that_was_overridden_is_saved(tmp_path: Path) -> None:
    """The tensors that the shorter network does not read must not spoil the folder."""
    model = load(tiny.write_bert(tmp_path / "model"), config_kwargs={"num_hidden_layers": 1})
    model.save(tmp_path / "saved")
    np.testing.assert_array_equal(encode(load(tmp_path / "saved")), encode(model))


def test_the_files_are_those_that_the_incumbent_reads(tmp_path: Path) -> None:
    model = load(tiny.write_bert(tmp_path / "model"))
    model.save(tmp_path / "saved")
    assert set(files(tmp_path / "saved")) >= {
        "modules.json", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
        "sentence_bert_config.json", "config_sentence_transformers.json", "1_Pooling/config.json", "README.md",
    }  # fmt: skip
    found = load_file(tmp_path / "saved/model.safetensors")
    assert {name: a.tobytes() for name, a in found.items()} == {
        name: a.tobytes() for name, a in tiny.bert_tensors().items()
    }
    listed = json.loads((tmp_path / "saved/modules.json").read_text("utf-8"))
    assert [(m["idx"], m["path"], m["type"].rpartition(".")[2]) for m in listed] == [
        (0, "", "Transformer"), (1, "1_Pooling", "Pooling"), (2, "2_Normalize", "Normalize"),
    ]  # fmt: skip


def test_over_the_folder_that_is_loaded(tmp_path: Path) -> None:
    """Its weights are mapped: they must stay readable while their file is replaced."""
    folder = tiny.write_bert(tmp_path / "model")
    model = load(folder)
    before, name = encode(model), model.fingerprint
    for _ in range(2):
        model.save(folder)
        np.testing.assert_array_equal(encode(model), before)
        states = model.encode("red", output_value="token_embeddings")  # a graph that is compiled only now
        assert np.isfinite(states).all()
        assert model.fingerprint == name
        np.testing.assert_array_equal(encode(load(folder)), before)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


FOREIGN = (
    "notes.txt", "data/vectors.bin", "checkpoint-10/model.safetensors", "checkpoint-10/config.json",
    "checkpoint-10/tokenizer.json", "checkpoint-10/modules.json", "tokenizers/mine.txt",
    "reports/run_config.json", ".git/config", "deep/er/still/model.bin",
)  # fmt: skip


def test_other_files_are_kept(tmp_path: Path) -> None:
    folder = tiny.write_static(tmp_path / "project")
    for name in FOREIGN:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"mine: {name}", "utf-8")
    load(tiny.write_bert(tmp_path / "model")).save(folder)
    assert {name for name in FOREIGN if not (folder / name).exists()} == set()
    assert all((folder / name).read_text("utf-8") == f"mine: {name}" for name in FOREIGN)
    assert load(folder).get_embedding_dimension() == tiny.WIDTH


def test_what_an_older_model_left_does_not_mix_in(tmp_path: Path) -> None:
    """Weights in a form that is looked for first, or a vocabulary of another kind, would be another model's."""
    folder = write_vocabulary(tmp_path / "project")
    (folder / "config_sentence_transformers.json").write_text('{"prompts": {"query": "stale: "}}', "utf-8")
    (folder / "sentence_roberta_config.json").write_text('{"max_seq_length": 3}', "utf-8")
    model = load(tiny.write_static(tmp_path / "model"))
    model.save(folder)
    again = load(folder)
    assert again.fingerprint == model.fingerprint
    assert again.prompts == model.prompts
    np.testing.assert_array_equal(encode(again), encode(model))


@pytest.mark.parametrize("point", ["_write_module", "_json", "write_safetensors", "_write_card", "_swap"])
def test_a_failure_while_writing_leaves_the_old_folder(point: str, tmp_path: Path, monkeypatch: Any) -> None:
    folder = tiny.write_static(tmp_path / "project")
    before = files(folder)
    model = load(tiny.write_bert(tmp_path / "model"))

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saving, point, full)
    with pytest.raises(OSError, match="No space left"):
        model.save(folder)
    assert files(folder) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model", "project"]


@pytest.mark.parametrize("failing", [1, 2])
@pytest.mark.parametrize("interrupt", [OSError(5, "Input/output error"), KeyboardInterrupt()])
def test_a_failure_while_swapping_leaves_the_old_folder(
    interrupt: BaseException, failing: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of the two renames fails, the old folder stands in its place afterwards."""
    model = load(tiny.write_bert(tmp_path / "model"))
    folder = tiny.write_static(tmp_path / "project")
    before, rename, count = files(folder), Path.rename, 0

    def failing_once(self: Path, target: Path) -> Path:
        nonlocal count
        count += 1
        if count == failing:
            raise interrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing_once)
    with pytest.raises(type(interrupt)):
        model.save(folder)
    assert files(folder) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model", "project"]
    model.save(folder)
    assert load(folder).get_embedding_dimension() == tiny.WIDTH


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    real = tiny.write_static(tmp_path / "versions/1")
    (tmp_path / "current").symlink_to(real, target_is_directory=True)
    load(tiny.write_bert(tmp_path / "model")).save(tmp_path / "current")
    assert (tmp_path / "current").is_symlink()
    assert load(real).get_embedding_dimension() == tiny.WIDTH


def test_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(tiny.write_bert(tmp_path / "model"))
    model.save(tmp_path / "a/b/c")
    monkeypatch.chdir(tmp_path)
    model.save_pretrained("relative")
    assert files(tmp_path / "relative") == files(tmp_path / "a/b/c")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="file is a file; a model is saved as a folder"):
        model.save(tmp_path / "file")
    with pytest.raises(UnsupportedModel, match="safe_serialization=False asks for a pickled file; vicinal writes"):
        model.save(tmp_path / "pickled", safe_serialization=False)
    assert not (tmp_path / "pickled").exists()


def test_the_card(tmp_path: Path) -> None:
    model = load(tiny.write_bert(tmp_path / "model"))
    model.save(tmp_path / "new", "org/name", train_datasets=["org/data"])
    card = (tmp_path / "new/README.md").read_text("utf-8")
    assert card.startswith("---\n")
    assert "# org/name" in card
    assert "- org/data" in card
    assert "22 dimensions" in card
    model.save(tmp_path / "none", create_model_card=False)
    assert not (tmp_path / "none/README.md").exists()
    (tmp_path / "model/README.md").write_text("its own", "utf-8")
    load(tmp_path / "model").save(tmp_path / "kept")
    assert (tmp_path / "kept/README.md").read_text("utf-8") == "its own"


def test_what_else_stands_in_the_folder_is_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Links, empty folders, the working directory itself: they are as they were, and the new model is there."""
    model = load(tiny.write_bert(tmp_path / "model"))
    home = tmp_path / "home"
    (home / ".git/refs/heads").mkdir(parents=True)
    (home / "data").symlink_to(tmp_path / "model")
    (home / "dangling").symlink_to(tmp_path / "nowhere")
    (home / "pytorch_model.bin").write_bytes(b"old weights")
    monkeypatch.chdir(home)
    model.save(".")
    assert Path.cwd() == home
    assert (home / ".git/refs/heads").is_dir()
    assert (home / "data").is_symlink()
    assert (home / "dangling").is_symlink()
    assert not (home / "pytorch_model.bin").exists()
    assert np.array_equal(load(home).encode("red apple"), model.encode("red apple"))


def test_a_card_is_not_read_through_a_link_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("not for anyone")
    folder = tiny.write_bert(tmp_path / "model")
    (folder / "README.md").symlink_to(tmp_path / "secret")
    model = load(folder)
    with pytest.raises(UnsafeModel, match="outside the model's folder"):
        model.save(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()
