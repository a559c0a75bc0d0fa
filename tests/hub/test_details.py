"""vicinal.hub.details."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.hub.test_card import CARD
from tests.hub_server import Hub, Repository, model_files
from tests.tiny import write_bert, write_json
from vicinal import SentenceTransformer
from vicinal.errors import ModelNotFound
from vicinal.hub.details import compare, show
from vicinal.loading.locate import locate

NAME = "someone/a-model"


def files(**other: bytes) -> dict[str, bytes]:
    """A model of 40 dimensions."""
    config = {"model_type": "bert", "hidden_size": 20, "max_position_embeddings": 512}
    pooling = {"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}
    settings = {"prompts": {"query": "query: "}, "similarity_fn_name": "dot"}
    modules = json.loads(model_files()["modules.json"])[:2]
    return model_files() | {
        "modules.json": json.dumps(modules).encode(),
        "config.json": json.dumps(config).encode(),
        "1_Pooling/config.json": json.dumps(pooling).encode(),
        "config_sentence_transformers.json": json.dumps(settings).encode(),
        "sentence_bert_config.json": b'{"max_seq_length": 128}',
        "README.md": CARD.encode(),
        **other,
    }


@pytest.fixture
def repository(hub: Hub) -> Repository:
    hub.repositories[NAME] = Repository()
    return hub.repositories[NAME]


def test_on_the_hub(hub: Hub, repository: Repository, cache: Path) -> None:
    commit = repository.commit(files())
    found = show(NAME, token=False)
    assert (found.name, found.source, found.revision) == (NAME, "hub", commit)
    assert (found.dims, found.max_tokens, found.similarity) == (40, 128, "dot")
    assert found.prompts == {"query": "query: "}
    needed = {name: len(content) for name, content in files().items() if not name.startswith(("2_", "3_"))}
    assert found.bytes == sum(needed.values())
    assert (found.support.runs, found.card.licence, len(found.card.scores)) == (True, "mit", 4)
    assert not any(name.endswith("safetensors") for name in hub.fetched())
    assert not cache.exists()  # it only looked


def test_on_this_machine_the_hub_is_not_asked(hub: Hub, repository: Repository) -> None:
    repository.commit(files())
    there = show(NAME, token=False)
    locate(NAME, token=False)
    hub.log.clear()
    here = show(NAME, token=False)
    assert hub.log == []
    assert (here.source, here.card, here.dims, here.bytes) == ("hub cache", there.card, there.dims, there.bytes)


def test_as_the_model_is_when_loaded(cache: Path, tmp_path: Path) -> None:
    folder = write_bert(tmp_path / "m", settings={"prompts": {"query": "q: "}})
    found, model = show(str(folder)), SentenceTransformer(folder, backend="numpy")
    assert (found.dims, found.max_tokens) == (model.get_embedding_dimension(), model.max_seq_length)
    assert found.card.flaw == "it has no card (README.md)"
    listed = [{"type": f"sentence_transformers.models.{kind}", "path": path} for kind, path in
              (("Transformer", ""), ("Pooling", "1_Pooling"), ("Dense", "2_Dense"))]  # fmt: skip
    write_json(folder / "modules.json", listed)
    write_json(folder / "2_Dense/config.json", {"in_features": 22, "out_features": 5})
    assert show(str(folder)).dims == 5


def test_static(cache: Path) -> None:
    found = show("vicinal-static-en")
    assert (found.source, found.support.how, found.dims) == ("bundled", "table", 256)


def test_malformed_card(repository: Repository) -> None:
    repository.commit(files(**{"README.md": b"---\na: [\n---\n"}))
    found = show(NAME, token=False)
    assert (found.dims, found.card.scores) == (40, ())
    assert found.card.flaw.startswith("the YAML of its card cannot be read")


def test_a_model_that_does_not_run(repository: Repository) -> None:
    repository.commit(files(**{"config.json": b'{"model_type": "llava"}'}))
    found = show(NAME, token=False)
    assert (found.support.runs, found.support.how) == (False, "model_type 'llava' has no network here")
    modules = json.dumps([{"type": "own_code.Model", "path": ""}]).encode()
    repository.commit(files(**{"modules.json": modules}))
    assert "code of the model's own" in show(NAME, token=False).support.how


@pytest.mark.parametrize("token", [False, "some"])
def test_gated(hub: Hub, repository: Repository, token: str | bool) -> None:
    repository.commit(files())
    repository.gated = True
    with pytest.raises(ModelNotFound, match=rf"^{NAME} at {hub.url} is gated: ask for access at \S+, then give"):
        show(NAME, token=token)


def test_missing(hub: Hub) -> None:
    with pytest.raises(ModelNotFound, match=f"^there is no nobody/nothing at {hub.url}, or it is private"):
        show("nobody/nothing", token=False)
    with pytest.raises(ModelNotFound, match="does not exist"):
        show("./nothing")


def test_revision(repository: Repository) -> None:
    repository.commit(files())
    with pytest.raises(ModelNotFound, match="has no revision 'v9'"):
        show(NAME, "v9", token=False)


def test_offline(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(
        ModelNotFound,
        match=f"^{hub.url} is not asked for {NAME}, because HF_HUB_OFFLINE is set: unset HF_HUB_OFFLINE and try again$",
    ):
        show(NAME, token=False)
    assert hub.log == []


def test_waits(hub: Hub, repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    repository.commit(files())
    hub.first = [(429, b"", {"Retry-After": "3"}, -1)]
    assert show(NAME, token=False).dims == 40
    assert slept == [3]


def test_compare_takes_common_tasks_alone(hub: Hub, repository: Repository) -> None:
    repository.commit(files())
    hub.repositories["a/other"] = Repository()
    other = CARD.replace("NFCorpus", "FiQA").replace("71.28", "61.28").replace("81.5", "91.5")
    hub.repositories["a/other"].commit(files(**{"README.md": other.encode()}))
    found = compare([show(NAME, token=False), show("a/other", token=False)])
    assert list(found.tasks) == [
        ("Classification", "Banking77Classification, validation"), ("Retrieval", "SciFact"), ("STS", "sts dev")
    ]  # fmt: skip
    assert found.means == {
        "Classification": ((81.5, 91.5), 1),
        "Retrieval": ((71.28, 61.28), 1),
        "STS": ((88.0, 88.0), 1),
    }
