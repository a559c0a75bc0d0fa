"""vicinal.loading.hub and the network's part of vicinal.loading.locate, against a hub on the loopback interface."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hub_server import UNNEEDED, Hub, Repository, isolate, model_files
from vicinal.errors import DamagedModel, ModelNotFound, UnsupportedModel
from vicinal.loading.hub import download
from vicinal.loading.locate import locate

NAME = "someone/a-model"


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # it was read from the environment at import
    return isolate(monkeypatch, tmp_path)


@pytest.fixture
def hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub() as hub:
        hub.repositories[NAME] = Repository()
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


@pytest.fixture
def commit(hub: Hub) -> str:
    return hub.repositories[NAME].commit(model_files() | UNNEEDED)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_download_has_every_needed_file_and_no_other(hub: Hub, commit: str, cache: Path) -> None:
    folder, found = download(NAME, None, False, cache)
    assert (folder, found) == (cache / "models--someone--a-model" / "snapshots" / commit, commit)
    assert contents(folder) == model_files()
    assert sorted(hub.fetched()) == sorted(model_files())
    assert hub.log[0] == f"GET /api/models/{NAME}/revision/main"
    assert sum("/api/" in entry for entry in hub.log) == 1


def test_weights_come_last(hub: Hub, commit: str, cache: Path) -> None:
    download(NAME, None, False, cache)
    assert set(hub.fetched()[-2:]) == {"model.safetensors", "2_Dense/model.safetensors"}


def test_nothing_is_told_but_versions(hub: Hub, commit: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub import constants

    seen = []
    whole = huggingface_hub.HfApi.model_info

    def watched(*args: Any, **kwargs: Any) -> Any:
        seen.append(constants.HF_HUB_DISABLE_TELEMETRY)
        return whole(*args, **kwargs)

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", watched)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", False)
    download(NAME, None, False, cache)
    assert (seen, constants.HF_HUB_DISABLE_TELEMETRY) == ([True], False)
    fields = {field.split("/")[0] for agent in hub.agents for field in agent.split("; ")}
    assert fields == {"vicinal", "hf_hub", "python"}


def test_no_progress_bar_without_a_terminal(
    hub: Hub, commit: str, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    download(NAME, None, False, cache)
    assert capsys.readouterr() == ("", "")


def test_second_use_asks_nobody(hub: Hub, commit: str) -> None:
    first = locate(NAME, token=False)
    assert (first.source, first.revision, first.name) == ("network", commit, NAME)
    hub.log.clear()
    second = locate(NAME)
    assert (second.folder, second.source, second.revision) == (first.folder, "hub cache", commit)
    assert hub.log == []


def test_second_use_with_the_hub_gone(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.repositories[NAME] = Repository()
        hub.repositories[NAME].commit(model_files())
        folder = locate(NAME, token=False).folder
    assert locate(NAME).folder == folder


def test_branch_and_commit(hub: Hub, commit: str) -> None:
    other = hub.repositories[NAME].commit(model_files() | {"vocab.txt": b"other"}, "refs/pr/1")
    assert locate(NAME, revision="refs/pr/1", token=False).revision == other
    assert locate(NAME, revision=other).source == "hub cache"
    assert locate(NAME, revision="refs/pr/1").source == "hub cache"
    assert locate(NAME, token=False).revision == commit
    assert locate(NAME, revision=commit).source == "hub cache"


def test_a_commit_that_is_cached_is_no_branch(hub: Hub, commit: str) -> None:
    locate(NAME, revision=commit, token=False)
    hub.log.clear()
    assert locate(NAME, token=False).source == "network"
    assert [entry.split()[0] for entry in hub.log] == ["GET"]  # what "main" is; the files are there


def test_huggingface_hub_and_vicinal_share_the_cache(hub: Hub, commit: str, cache: Path) -> None:
    import huggingface_hub

    download(NAME, None, False, cache)
    for name in model_files():
        assert huggingface_hub.try_to_load_from_cache(NAME, name, cache_dir=cache) is not None
    for name in model_files():
        huggingface_hub.hf_hub_download(NAME, name, cache_dir=cache / "2", endpoint=hub.url, token=False)
    hub.log.clear()
    assert locate(NAME, cache_folder=cache / "2").source == "hub cache"
    assert hub.log == []


def test_pickled_weights_only_where_there_is_nothing_else(hub: Hub, cache: Path) -> None:
    files = model_files() | UNNEEDED
    del files["model.safetensors"]
    hub.repositories[NAME].commit(files)
    folder, _ = download(NAME, None, False, cache)
    assert (folder / "pytorch_model.bin").is_file()
    assert not (folder / "training_args.bin").exists()


def test_private(hub: Hub, commit: str) -> None:
    hub.repositories[NAME].token = "secret"
    with pytest.raises(
        ModelNotFound, match=r"there is no someone/a-model at http\S+, or it is private\. .*token=\.\.\."
    ):
        locate(NAME, token=False)
    with pytest.raises(ModelNotFound, match="or it is private and the token given does not open it"):
        locate(NAME, token="other")
    with pytest.raises(ModelNotFound, match=r"answered 401 for someone/a-model: .*401"):
        locate(NAME, token="wrong")
    assert locate(NAME, token="secret").revision == commit


def test_token_of_the_environment(hub: Hub, commit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repositories[NAME].token = "secret"
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert locate(NAME).revision == commit


def test_token_that_is_not_saved(hub: Hub, commit: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(ModelNotFound, match=r"token=True was given .* no token is saved: set HF_TOKEN"):
        locate(NAME, token=True)


@pytest.mark.parametrize("token", [False, "some"])
def test_gated(hub: Hub, commit: str, token: str | bool) -> None:
    hub.repositories[NAME].gated = True
    with pytest.raises(ModelNotFound, match=r"is gated: ask for access at http\S+/someone/a-model, then") as caught:
        locate(NAME, token=token)
    assert type(caught.value.__cause__).__name__ == "GatedRepoError"


def test_no_such_repository(hub: Hub, cache: Path) -> None:
    with pytest.raises(ModelNotFound) as caught:
        locate("nothing-like-it", token=False)
    text = str(caught.value)
    assert text.startswith("the model 'sentence-transformers/nothing-like-it' was not found. Looked at:\n")
    assert f"{Path.cwd() / 'nothing-like-it'}: does not exist" in text
    assert f"{cache / 'models--sentence-transformers--nothing-like-it'}: does not exist" in text
    assert "packages   no installed package has it" in text
    assert f"there is no sentence-transformers/nothing-like-it at {hub.url}, or it is private" in text
    assert "`vicinal pack sentence-transformers/nothing-like-it`" in text
    assert type(caught.value.__cause__).__name__ == "RepositoryNotFoundError"


def test_no_such_revision(hub: Hub, commit: str) -> None:
    with pytest.raises(ModelNotFound, match="has no revision 'v9': give a branch, a tag or a commit") as caught:
        locate(NAME, revision="v9", token=False)
    assert type(caught.value.__cause__).__name__ == "RevisionNotFoundError"


def test_cut_weights_are_not_taken_for_whole(hub: Hub, commit: str, cache: Path) -> None:
    hub.repositories[NAME].cut["model.safetensors"] = 1000
    with pytest.raises(ModelNotFound, match=r"fetching someone/a-model .* failed .*size"):
        locate(NAME, token=False)
    missing = f"only commit {commit}, which is not complete; missing: model.safetensors or pytorch_model.bin"
    with pytest.raises(ModelNotFound, match=f"has no revision 'main', {missing}"):
        locate(NAME, local_files_only=True)
    hub.repositories[NAME].cut.clear()
    hub.log.clear()
    found = locate(NAME, token=False)
    assert (found.source, contents(found.folder)) == ("network", model_files())
    assert hub.fetched() == ["model.safetensors"]  # the rest had come
    assert locate(NAME).source == "hub cache"


def test_incomplete_snapshot_of_others(hub: Hub, commit: str, cache: Path) -> None:
    """Others write the branch first, and then the files."""
    import huggingface_hub

    for name in ("modules.json", "config.json", "model.safetensors"):
        huggingface_hub.hf_hub_download(NAME, name, cache_dir=cache, endpoint=hub.url, token=False)
    wanted = f"has commit {commit}, which is not complete; missing: .*tokenizer.json.*1_Pooling/config.json.*2_Dense"
    with pytest.raises(ModelNotFound, match=wanted):
        locate(NAME, local_files_only=True)
    assert locate(NAME, token=False).source == "network"
    assert locate(NAME).source == "hub cache"


def test_killed_while_the_weights_come(hub: Hub, commit: str, tmp_path: Path) -> None:
    code = """
import os, signal, sys
import huggingface_hub.file_download as downloads
whole = downloads.http_get
def half(url, *args, **kwargs):
    if url.endswith("/model.safetensors"):
        os._exit(9)
    return whole(url, *args, **kwargs)
downloads.http_get = half
from vicinal.loading.locate import locate
locate(sys.argv[1], token=False)
"""
    assert subprocess.run([sys.executable, "-c", code, NAME], check=False).returncode == 9
    with pytest.raises(ModelNotFound, match=r"not complete; missing: .*model\.safetensors or pytorch_model\.bin"):
        locate(NAME, local_files_only=True)
    assert contents(locate(NAME, token=False).folder) == model_files()


def test_hub_down(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Hub() as hub:
        pass
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    with pytest.raises(
        ModelNotFound, match=f"fetching {NAME} at {hub.url} failed .*Connect.*Check the connection"
    ) as e:
        locate(NAME, token=False)
    cause = e.value.__cause__
    assert type(cause).__name__ in ("ConnectError", "ConnectionError")
    assert cause is not None
    assert (cause.__traceback__, cause.__cause__) == (None, None)


def test_hub_in_trouble(hub: Hub) -> None:
    hub.everywhere = (500, b"sorry", {}, -1)
    with pytest.raises(ModelNotFound, match=f"{hub.url} answered 500 for {NAME}: .*500"):
        locate(NAME, token=False)


def test_files_that_are_refused(hub: Hub, commit: str) -> None:
    hub.repositories[NAME].refuses = 403
    with pytest.raises(ModelNotFound, match=f"{hub.url} answered 403 for {NAME}: 403 Forbidden"):
        locate(NAME, token=False)


def test_something_else_answers(hub: Hub) -> None:
    hub.everywhere = (200, b"<html>Please log in</html>", {}, -1)
    with pytest.raises(ModelNotFound, match="did not answer like a hub; is something between"):
        locate(NAME, token=False)
    hub.everywhere = (200, b'{"id": "someone/a-model", "sha": "../../elsewhere", "siblings": []}', {}, -1)
    with pytest.raises(ModelNotFound, match=r"the answer names the commit '\.\./\.\./elsewhere'"):
        locate(NAME, token=False)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (errno.ENOSPC, "the disk is full: someone/a-model at .* does not fit into .*hub. Make room, or"),
        (errno.EROFS, "could not be written to .*hub: .*Make it writable, or name another place with cache_folder="),
    ],
)
def test_disk(hub: Hub, commit: str, monkeypatch: pytest.MonkeyPatch, number: int, text: str) -> None:
    from huggingface_hub import file_download

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, "as the system says")

    monkeypatch.setattr(file_download, "http_get", fail)
    with pytest.raises(ModelNotFound, match=text) as caught:
        locate(NAME, token=False)
    assert isinstance(caught.value.__cause__, OSError)


def test_cache_folder_that_is_a_file(hub: Hub, commit: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelNotFound, match=r"could not be written to .*file: .*Make it writable"):
        locate(NAME, token=False, cache_folder=tmp_path / "file")


def test_huggingface_hub_that_is_offline(hub: Hub, commit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    code = f"""
import os
import huggingface_hub.constants
del os.environ["HF_HUB_OFFLINE"]
from vicinal.loading.locate import locate
locate({NAME!r}, token=False)
"""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    ran = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert "huggingface_hub was imported while HF_HUB_OFFLINE was set; restart without" in ran.stderr
    assert hub.log == []


def test_repository_without_usable_weights(hub: Hub, cache: Path) -> None:
    files = {name: content for name, content in (model_files() | UNNEEDED).items() if "model.safe" not in name}
    del files["pytorch_model.bin"]
    commit = hub.repositories[NAME].commit(files)
    text = (
        f"commit {commit}, lacks model.safetensors or pytorch_model.bin; 2_Dense/model.safetensors or .* It has: .*onnx"
    )
    with pytest.raises(UnsupportedModel, match=text):
        locate(NAME, token=False)
    assert hub.fetched() == ["modules.json"]


def test_repository_with_a_damaged_list_of_modules(hub: Hub) -> None:
    hub.repositories[NAME].commit(model_files() | {"modules.json": b"[{"})
    with pytest.raises(DamagedModel, match=f"modules.json of {NAME} at .* is not readable as JSON"):
        locate(NAME, token=False)


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", None])
def test_offline_asks_nobody(hub: Hub, commit: str, monkeypatch: pytest.MonkeyPatch, variable: str | None) -> None:
    if variable:
        monkeypatch.setenv(variable, "1")
    why = f"{variable} is set" if variable else "local_files_only=True was given"
    with pytest.raises(ModelNotFound, match=f"network    not asked, because {why}"):
        locate(NAME, token=False, local_files_only=variable is None)
    assert hub.log == []
