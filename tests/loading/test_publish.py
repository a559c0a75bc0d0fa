"""push_to_hub of every model, against a hub on the loopback interface."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import tiny
from tests.cross_encoder.conftest import write_classifier
from tests.hub_server import Hub, Repository, isolate
from vicinal import CrossEncoder, SentenceTransformer
from vicinal.errors import PublishingFailed, UnsupportedModel

OWN = {"token": "right"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    isolate(monkeypatch, tmp_path)
    with Hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


@pytest.fixture
def model(tmp_path: Path) -> SentenceTransformer:
    return SentenceTransformer(str(tiny.write_bert(tmp_path / "model")), dtype="float32")


def files(hub: Hub, name: str, reference: str = "main") -> dict[str, bytes]:
    repository = hub.repositories[name]
    return repository.commits[repository.references[reference]]


def test_what_is_sent_is_loaded_again(hub: Hub, model: SentenceTransformer) -> None:
    address = model.push_to_hub("someone/new", train_datasets=["some/data"], **OWN)
    repository = hub.repositories["someone/new"]
    assert address == f"{hub.url}/someone/new/commit/{repository.references['main']}"
    assert repository.messages == ["Add a SentenceTransformer"]
    card = files(hub, "someone/new")["README.md"].decode()
    assert "- some/data" in card
    assert 'model = SentenceTransformer("someone/new")' in card
    assert model.model_card_data.model_id is None  # it is where it was, too
    again = SentenceTransformer("someone/new", dtype="float32")
    np.testing.assert_array_equal(again.encode(["red apple"]), model.encode(["red apple"]))


def test_a_scorer(hub: Hub, tmp_path: Path) -> None:
    scorer = CrossEncoder(str(write_classifier(tmp_path / "scorer")), dtype="float32")
    scorer.push_to_hub("bare", private=True, commit_message="A scorer", **OWN)
    repository = hub.repositories["me/bare"]
    assert (repository.token, repository.messages) == ("right", ["A scorer"])
    assert "pipeline_tag: text-ranking" in files(hub, "me/bare")["README.md"].decode()
    again = CrossEncoder("me/bare", token="right", dtype="float32")
    pairs = [("red", "apple"), ("tax", "law")]
    np.testing.assert_array_equal(again.predict(pairs), scorer.predict(pairs))


def test_a_repository_that_is_there(hub: Hub, model: SentenceTransformer) -> None:
    hub.repositories["someone/old"] = Repository()
    before = hub.repositories["someone/old"].commit({"README.md": b"theirs", "notes.txt": b"kept"})
    with pytest.raises(PublishingFailed, match=r"someone/old at http.* already: exist_ok=True sends a new commit"):
        model.push_to_hub("someone/old", **OWN)
    assert hub.repositories["someone/old"].references["main"] == before
    model.push_to_hub("someone/old", exist_ok=True, **OWN)
    assert files(hub, "someone/old")["README.md"] == b"theirs"
    assert files(hub, "someone/old")["notes.txt"] == b"kept"
    assert "model.safetensors" in files(hub, "someone/old")
    model.push_to_hub("someone/old", exist_ok=True, replace_model_card=True, **OWN)
    assert b"someone/old" in files(hub, "someone/old")["README.md"]


def test_a_branch(hub: Hub, model: SentenceTransformer) -> None:
    model.push_to_hub("someone/new", revision="next", **OWN)
    assert set(files(hub, "someone/new")) == {".gitattributes"}
    assert "modules.json" in files(hub, "someone/new", "next")


def test_a_pull_request(hub: Hub, model: SentenceTransformer) -> None:
    hub.repositories["someone/old"] = Repository()
    hub.repositories["someone/old"].commit({"README.md": b"theirs"})
    address = model.push_to_hub("someone/old", create_pr=True, commit_message="Please", **OWN)
    assert address == f"{hub.url}/someone/old/discussions/1"
    assert set(files(hub, "someone/old")) == {"README.md"}
    assert "modules.json" in files(hub, "someone/old", "refs/pr/1")
    assert hub.repositories["someone/old"].messages == ["Please"]


def test_a_folder_as_it_is(hub: Hub, model: SentenceTransformer, tmp_path: Path) -> None:
    (tmp_path / "folder/sub").mkdir(parents=True)
    (tmp_path / "folder/sub/a.txt").write_bytes(b"a")
    model.push_to_hub("someone/new", local_model_path=tmp_path / "folder", **OWN)
    assert set(files(hub, "someone/new")) == {".gitattributes", "sub/a.txt"}
    with pytest.raises(NotADirectoryError, match=r"local_model_path=.*nowhere' is no folder"):
        model.push_to_hub("someone/other", local_model_path=tmp_path / "nowhere", **OWN)
    assert "someone/other" not in hub.repositories


@pytest.mark.parametrize("given", [{"token": "wrong"}, {"token": False}, {"token": True}])
def test_who_may_not_write(hub: Hub, model: SentenceTransformer, given: dict[str, Any]) -> None:
    with pytest.raises(PublishingFailed, match="does not let this account write to someone/new: give a token that may"):
        model.push_to_hub("someone/new", **given)
    assert hub.repositories == {}


def test_a_hub_that_is_out_of_order(hub: Hub, model: SentenceTransformer, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.everywhere = (500, b"{}", {}, -1)
    with pytest.raises(PublishingFailed, match=r"sending the model to someone/new at http.* failed \(HfHubHTTPError"):
        model.push_to_hub("someone/new", **OWN)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(PublishingFailed, match=r"failed \(ConnectError"):
        model.push_to_hub("someone/new", **OWN)


def test_no_pickles(hub: Hub, model: SentenceTransformer) -> None:
    with pytest.raises(UnsupportedModel, match="safe_serialization=False asks for a pickled file"):
        model.push_to_hub("someone/new", safe_serialization=False, **OWN)
    assert hub.repositories == {}


def test_only_versions_are_told(hub: Hub, model: SentenceTransformer) -> None:
    model.push_to_hub("someone/new", **OWN)
    fields = {field.split("/")[0] for agent in hub.agents for field in agent.split("; ")}
    assert {"vicinal", "hf_hub", "python"} <= fields <= {"vicinal", "hf_hub", "python", "unknown"}


def test_the_card_that_came_with_the_model_goes_with_it(hub: Hub, tmp_path: Path) -> None:
    folder = tiny.write_bert(tmp_path / "own")
    (folder / "README.md").write_text("its own", "utf-8")
    SentenceTransformer(str(folder), dtype="float32").push_to_hub("someone/new", **OWN)
    assert files(hub, "someone/new")["README.md"] == b"its own"


def test_the_older_name(hub: Hub, model: SentenceTransformer) -> None:
    with pytest.warns(DeprecationWarning, match="save_to_hub is an older name; use push_to_hub"):
        model.save_to_hub(repo_name="new", organization="someone", **OWN)
    assert hub.repositories["someone/new"].messages == ["Add new model."]
    with (
        pytest.warns(DeprecationWarning, match="older name"),
        pytest.raises(ValueError, match="repo_id='a/b' is not of organization='c'; leave organization out"),
    ):
        model.save_to_hub("a/b", "c", **OWN)
    with pytest.warns(DeprecationWarning, match="older name"), pytest.raises(TypeError, match="needs repo_id"):
        model.save_to_hub(**OWN)
