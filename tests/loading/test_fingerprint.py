"""A fingerprint is that of the vectors: equal however the files lie, another for whatever changes a vector."""

from __future__ import annotations

import copy
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests import tiny
from vicinal import SentenceTransformer


def load(folder: Path, **options: Any) -> SentenceTransformer:
    return SentenceTransformer(folder, **{"dtype": "float32", "threads": 1, **options})


@pytest.fixture(autouse=True)
def _memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VICINAL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.write_bert(tmp_path / "model")


@pytest.fixture
def plain(folder: Path) -> str:
    return load(folder).fingerprint


def rewritten(tensors: tiny.Arrays) -> Callable[[Path], Any]:
    return lambda folder: save_file(tensors, folder / "model.safetensors")


def sharded(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    where = {}
    for i, name in enumerate(tiny.bert_tensors()):
        where[name] = f"model-0000{i % 3 + 1}-of-00003.safetensors"
    for file in set(where.values()):
        save_file({n: a for n, a in tiny.bert_tensors().items() if where[n] == file}, folder / file)
    tiny.write_json(folder / "model.safetensors.index.json", {"weight_map": where})


def json_keys(name: str, **keys: Any) -> Callable[[Path], Any]:
    def change(folder: Path) -> None:
        path = folder / name
        found = json.loads(path.read_text("utf-8")) if path.exists() else {}
        tiny.write_json(path, {**found, **keys})

    return change


def renamed(old: str, new: str) -> tiny.Arrays:
    return {name.replace(old, new): array for name, array in tiny.bert_tensors().items()}


def reordered_vocabulary(folder: Path) -> None:
    described = tiny.wordpiece()
    described["model"]["vocab"] = dict(reversed(described["model"]["vocab"].items()))
    described["truncation"] = {"max_length": 9, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
    described["padding"] = {"strategy": "BatchLongest", "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0,
                            "pad_type_id": 0, "pad_token": "[PAD]"}  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(described, indent=7), "utf-8")


PREFIXED = {f"bert.{name}": array for name, array in tiny.bert_tensors().items()}
LEFTOVERS = {"pooler.dense.bias": np.ones(3, "f4"), "embeddings.position_ids": np.arange(41)[None]}

SAME: dict[str, Callable[[Path], Any]] = {
    "shards": sharded,
    "a prefix": rewritten(PREFIXED),
    "a prefix and another head": rewritten({**PREFIXED, "cls.predictions.bias": np.ones(68, "f4")}),
    "leftovers": rewritten({**tiny.bert_tensors(), **LEFTOVERS}),
    "another order": rewritten(dict(reversed(tiny.bert_tensors().items()))),
    "norms by their old names": rewritten({
        name.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): array
        for name, array in tiny.bert_tensors().items()
    }),
    "a tokenizer.json written otherwise": reordered_vocabulary,
    "prompts": json_keys("config_sentence_transformers.json", prompts={"query": "- "}, default_prompt_name="query"),
    "similarity": json_keys("config_sentence_transformers.json", similarity_fn_name="dot"),
    "keys that nothing reads": json_keys("config.json", transformers_version="4.1", hidden_dropout_prob=0.5, _name="x"),
    "pooling in the new spelling": lambda f: tiny.write_json(
        f / "1_Pooling/config.json", {"embedding_dimension": tiny.WIDTH, "pooling_mode": "mean"}),
    "all its dimensions, said": json_keys("config_sentence_transformers.json", truncate_dim=tiny.WIDTH),
    "a card": lambda f: (f / "README.md").write_text("# me", "utf-8"),
}  # fmt: skip


def bit(name: str) -> Callable[[Path], Any]:
    """The lowest bit of one number of one tensor."""
    tensors = tiny.bert_tensors()
    tensors[name].view(np.uint32).flat[-1] ^= 1
    return rewritten(tensors)


def vocabulary(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], Any]:
    def spoil(folder: Path) -> None:
        described = tiny.wordpiece()
        change(described)
        tiny.write_json(folder / "tokenizer.json", described)

    return spoil


def swap_two_tokens(described: dict[str, Any]) -> None:
    ids = described["model"]["vocab"]
    ids["red"], ids["tax"] = ids["tax"], ids["red"]


OTHER: dict[str, Callable[[Path], Any]] = {
    "one bit of a matrix": bit("encoder.layer.1.output.dense.weight"),
    "one bit of a norm": bit("embeddings.LayerNorm.bias"),
    "one bit of the words": bit("embeddings.word_embeddings.weight"),
    "two tensors exchanged": rewritten({
        **tiny.bert_tensors(),
        "encoder.layer.0.attention.self.query.bias": tiny.bert_tensors()["encoder.layer.0.attention.self.value.bias"],
        "encoder.layer.0.attention.self.value.bias": tiny.bert_tensors()["encoder.layer.0.attention.self.query.bias"],
    }),
    "half precision": rewritten({name: array.astype("f2") for name, array in tiny.bert_tensors().items()}),
    "pooling": json_keys("1_Pooling/config.json", pooling_mode_mean_tokens=False, pooling_mode_cls_token=True),
    "a second pooling": json_keys("1_Pooling/config.json", pooling_mode_cls_token=True),
    "the prompt's tokens": json_keys("1_Pooling/config.json", include_prompt=False),
    "no normalisation": lambda f: tiny.write_json(f / "modules.json", tiny.modules(*tiny.BERT_MODULES[:2])),
    "length": json_keys("sentence_bert_config.json", max_seq_length=16),
    "dimensions": json_keys("config_sentence_transformers.json", truncate_dim=5),
    "the activation": json_keys("config.json", hidden_act="gelu_new"),
    "the heads": json_keys("config.json", num_attention_heads=11),
    "eps": json_keys("config.json", layer_norm_eps=1e-12),
    "case": json_keys("tokenizer_config.json", do_lower_case=False),
    "two tokens exchanged": vocabulary(swap_two_tokens),
    "another frame": vocabulary(lambda t: t["post_processor"]["single"].pop()),
    "which end is cut": json_keys("tokenizer_config.json", truncation_side="left"),
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_the_same_space(name: str, folder: Path, plain: str) -> None:
    SAME[name](folder)
    assert load(folder).fingerprint == plain


@pytest.mark.parametrize("name", OTHER)
def test_another_space(name: str, folder: Path, plain: str) -> None:
    OTHER[name](folder)
    assert load(folder).fingerprint != plain


def test_what_it_looks_like(plain: str) -> None:
    assert len(plain) == 64
    assert set(plain) <= set("0123456789abcdef")


def test_backend_threads_and_dtype_are_no_part_of_it(folder: Path, plain: str) -> None:
    for options in ({"backend": "numpy"}, {"dtype": "int8"}, {"threads": 2}, {"device": "cpu"}):
        assert load(folder, **options).fingerprint == plain


def test_it_follows_the_setters(folder: Path, plain: str) -> None:
    model = load(folder)
    model.prompts = {"query": "x"}
    model.similarity_fn_name = "dot"
    assert model.fingerprint == plain
    model.max_seq_length = 9
    assert model.fingerprint != plain
    model.max_seq_length = 17
    assert model.fingerprint == plain
    model.truncate_dim = 5
    assert model.fingerprint != plain
    model.truncate_dim = None
    model.set_pooling_include_prompt(False)
    assert model.fingerprint != plain


def test_copies_have_it(folder: Path, plain: str) -> None:
    model = load(folder)
    assert copy.deepcopy(model).fingerprint == plain
    assert pickle.loads(pickle.dumps(model)).fingerprint == plain


def test_what_is_remembered_is_not_believed_of_another_file(folder: Path, plain: str) -> None:
    """Same place, same size, other weights: the modification time tells."""
    stat = (folder / "model.safetensors").stat()
    bit("embeddings.LayerNorm.bias")(folder)
    assert (folder / "model.safetensors").stat().st_size == stat.st_size
    os.utime(folder / "model.safetensors", ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert load(folder).fingerprint != plain


def test_a_file_that_is_replaced_after_loading(folder: Path, plain: str) -> None:
    """The model goes on with the weights it has: its name must not become that of the new file."""
    model = load(folder)
    replacement = folder / "new.safetensors"
    save_file(tiny.bert_tensors(seed=9), replacement)
    os.replace(replacement, folder / "model.safetensors")
    assert model.fingerprint == plain
    assert load(folder).fingerprint not in (plain, model.fingerprint)


def test_remembered_or_computed_anew(folder: Path, plain: str, tmp_path: Path, monkeypatch: Any) -> None:
    assert load(folder).fingerprint == plain
    monkeypatch.setenv("VICINAL_CACHE", str(tmp_path / "another"))
    assert load(folder).fingerprint == plain
    (tmp_path / "file").touch()
    monkeypatch.setenv("VICINAL_CACHE", str(tmp_path / "file/below"))
    assert load(folder).fingerprint == plain
