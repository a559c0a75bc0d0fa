"""vicinal.loading.support: what is refused before its weights come, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.hub_server import Hub, Repository, isolate, model_files
from tests.tiny import write_bert
from vicinal import CrossEncoder, SentenceTransformer
from vicinal.errors import UnsafeModel, UnsupportedModel
from vicinal.loading.layout import Contents, on_disk
from vicinal.loading.support import of_files, of_listing, refuse

pytestmark = pytest.mark.usefixtures("without_torch")

CASES = json.loads((Path(__file__).parent.parent / "fixtures/tiny/cases.json").read_text("utf-8"))["cases"]
NAME = "someone/a-model"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    isolate(monkeypatch, tmp_path)
    with Hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.repositories[NAME] = Repository()
        yield hub


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_no_model_that_loads_is_refused(case: dict[str, Any], tiny_folder: Callable[[dict[str, Any]], Path]) -> None:
    refuse(on_disk(tiny_folder(case)), case["arguments"].get("config_kwargs"))


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({"config.json": b'{"model_type": "llava"}'}, "model_type 'llava' has no network here"),
        (
            {"config.json": b'{"model_type": "x", "auto_map": {"AutoModel": "m.M"}}'},
            "model_type 'x' with code of its own has no network",
        ),
        ({"config.json": b'{"model_type": "mpnet", "relative_attention_num_buckets": 64}'}, "relative_attention_num"),
        ({"config_sentence_transformers.json": b'{"model_type": "SparseEncoder"}'}, "it is a SparseEncoder"),
        ({"modules.json": json.dumps([{"path": "", "type": "sentence_transformers.models.LSTM"}]).encode()}, "LSTM"),
        ({"sentence_bert_config.json": b'{"transformer_task": "fill-mask"}'}, "transformer_task 'fill-mask'"),
        ({"sentence_bert_config.json": b'{"modality_config": {"message": {}}}'}, "in a chat"),
    ],
)
def test_refused_after_its_configuration_before_its_weights(hub: Hub, files: dict[str, bytes], text: str) -> None:
    hub.repositories[NAME].commit(model_files() | files)
    with pytest.raises(UnsupportedModel, match=f"{NAME} at .*: .*{text}.*; it runs in sentence-transformers"):
        SentenceTransformer(NAME, token=False)
    small = {"modules.json", "config_sentence_transformers.json", "config.json", "sentence_bert_config.json"}
    assert set(hub.fetched()) <= small


def test_code_of_its_own_is_refused_before_its_weights(hub: Hub) -> None:
    modules = [{"path": "", "type": "custom_st.Transformer"}]
    hub.repositories[NAME].commit(model_files() | {"modules.json": json.dumps(modules).encode()})
    with pytest.raises(UnsafeModel, match=r"code of the model's own"):
        SentenceTransformer(NAME, token=False)
    assert hub.fetched() == ["modules.json"]


def test_a_head_that_is_not_here(hub: Hub) -> None:
    files = model_files() | {"config.json": b'{"model_type": "t5"}'}
    del files["modules.json"]
    hub.repositories[NAME].commit(files)
    with pytest.raises(UnsupportedModel, match="the network 't5' has no classification head here"):
        CrossEncoder(NAME, token=False)
    assert hub.fetched() == ["config.json"]


def test_what_the_user_changes_counts(hub: Hub, tmp_path: Path) -> None:
    folder = write_bert(tmp_path / "m", config={"model_type": "old-name"})
    names = on_disk(folder).names
    files = {name: (folder / name).read_bytes() for name in names}
    hub.repositories[NAME].commit(files)
    with pytest.raises(UnsupportedModel, match="'old-name' has no network"):
        SentenceTransformer(NAME, token=False)
    assert SentenceTransformer(NAME, token=False, config_kwargs={"model_type": "bert"}).encode("a").shape == (22,)


def test_a_language_model_that_scores_by_logits() -> None:
    modules = [{"path": "", "type": "sentence_transformers.cross_encoder.modules.Transformer"},
               {"path": "1_LogitScore", "type": "sentence_transformers.cross_encoder.modules.LogitScore"}]  # fmt: skip
    files = {"modules.json": json.dumps(modules).encode(), "config.json": b'{"model_type": "qwen3"}'}
    contents = Contents(frozenset(files), files.__getitem__, "a/model")
    refuse(contents, head=True)
    refuse(contents)
    with pytest.raises(UnsupportedModel, match="a LogitScore module is not handled"):
        refuse(contents, head=False)


def test_an_exported_file_runs_what_no_network_does() -> None:
    files = {"config.json": b'{"model_type": "somebody-s"}', "onnx/model.onnx": b""}
    contents = Contents(frozenset(files), files.__getitem__, "a/model")
    refuse(contents, head=False)
    with pytest.raises(UnsupportedModel, match="'somebody-s' has no network"):
        refuse(contents, head=True)


def test_files(tmp_path: Path, fixtures: Path) -> None:
    found = of_files(on_disk(write_bert(tmp_path)))
    assert (found.runs, found.how) == (True, "network bert")
    found = of_files(on_disk(fixtures / "tiny/cases/router"))
    assert (found.runs, found.how) == (True, "router, table, network bert")


@pytest.mark.parametrize(
    ("config", "names", "tags", "head", "runs", "how"),
    [
        ({"model_type": "bert"}, ["model.safetensors"], [], False, True, "network bert"),
        ({"model_type": "bert"}, None, [], True, True, "network bert"),
        ({"model_type": "bert"}, ["pytorch_model.bin"], [], False, False, "its weights are pickled"),
        ({"model_type": "t5"}, None, [], True, False, "the network 't5' has no classification head"),
        ({"model_type": "llava"}, None, [], False, False, "model_type 'llava' has no network here"),
        ({}, ["model.safetensors"], ["model2vec"], False, True, "table"),
        ({}, ["0_StaticEmbedding/model.safetensors"], [], False, True, "table"),
        ({}, ["model.safetensors"], [], False, None, "does not tell"),
    ],
)
def test_listings(config: Any, names: Any, tags: Any, head: bool, runs: bool | None, how: str) -> None:
    found = of_listing(config, names, tags, head)
    assert found.runs is runs
    assert how in found.how
