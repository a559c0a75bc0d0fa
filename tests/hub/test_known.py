"""vicinal.hub.known."""

from __future__ import annotations

import json
import re

import pytest

from vicinal.hub.known import DATA, Known, find_known, known_models
from vicinal.text.families import family_prompts

MODELS = known_models()


def test_families_that_users_ask_for_are_there() -> None:
    names = "\n".join(model.name for model in MODELS)
    for name in (
        "all-MiniLM-L6-v2", "all-MiniLM-L12-v2", "all-mpnet-base-v2", "multi-qa-MiniLM-L6-cos-v1",
        "multi-qa-mpnet-base-dot-v1", "paraphrase-multilingual-MiniLM-L12-v2", "bge-large-en-v1.5", "bge-m3",
        "e5-base-v2", "multilingual-e5-large", "e5-mistral-7b-instruct", "gte-modernbert-base", "gte-Qwen2-7B-instruct",
        "snowflake-arctic-embed-m-v2.0", "nomic-embed-text-v1.5", "modernbert-embed-base", "mxbai-embed-large-v1",
        "Qwen3-Embedding-8B", "embeddinggemma-300m", "potion-base-8M", "ms-marco-MiniLM-L6-v2", "bge-reranker-v2-m3",
    ):  # fmt: skip
        assert f"/{name}" in names
    assert len(set(names.split("\n"))) == len(MODELS)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_entries_are_sound(model: Known) -> None:
    assert re.fullmatch(r"[\w-]+/[\w.-]+", model.name)
    assert model.kind in ("encoder", "static", "reranker")
    assert model.best_for
    assert set(model.sources) <= json.loads(DATA.read_text("utf-8"))["sources"].keys()
    assert (model.dims is None) == (model.kind == "reranker")
    assert model.parameters is not None
    assert model.table_parameters is not None
    assert model.table_parameters <= model.parameters
    assert (model.speed == "instant") == (model.kind == "static")
    if model.megabytes is not None:  # two or four bytes each, and here and there a second table
        assert 1.9 < model.megabytes * 1e6 / model.parameters < 4.7
    for name, prompt in family_prompts(model.name).items():
        stated = dict(model.prompts)
        assert stated.get(name, stated.get("passage" if name == "document" else name)) == prompt


def test_what_runs_without_torch() -> None:
    assert {model.name for model in MODELS if model.kind != "reranker" and not model.support.runs} == set()
    assert find_known("cross-encoder/ms-marco-MiniLM-L6-v2").support.runs
    assert find_known("all-MiniLM-L6-v2").support.how == "network bert"
    assert find_known("minishlab/potion-base-8M").support.how == "table"


def test_all_minilm_is_as_its_files_say(minilm) -> None:  # type: ignore[no-untyped-def]
    model = find_known("sentence-transformers/all-MiniLM-L6-v2")
    assert model is not None
    assert (model.dims, model.max_tokens) == (minilm.get_embedding_dimension(), minilm.max_seq_length)
    assert model.similarity == minilm.similarity_fn_name
    sizes = [tensor.array.size for name, tensor in minilm._engine.parts.tensors.items() if "pooler" not in name]
    pooler = 384 * 384 + 384  # published, and no text vector needs it
    assert model.parameters == pytest.approx(sum(sizes) + pooler, rel=0.001)


def test_speed() -> None:
    assert [find_known(name).speed for name in ("all-MiniLM-L6-v2", "BAAI/bge-base-en-v1.5", "BAAI/bge-m3")] == [
        "fast", "medium", "slow"
    ]  # fmt: skip
    assert find_known("Qwen/Qwen3-Embedding-8B").speed == "very slow"
    assert find_known("nobody/nothing") is None
