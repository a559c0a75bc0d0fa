"""vicinal.loading.locate without a network: folders, the hub cache, and what is said when nothing has the model."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hub_server import isolate, model_files, safetensors, write
from vicinal.errors import InvalidInput, ModelNotFound, ModelWarning, UnsafeModel
from vicinal.loading.locate import Located, hub_cache, locate

COMMIT = "c9745ed1d9f207416be6d2e6f8de32d1f16199bf"


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The hub cache's folder; whoever opens a connection fails the test."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return isolate(monkeypatch, tmp_path)


def cached(
    cache: Path, name: str, files: dict[str, bytes], commit: str = COMMIT, reference: str | None = "main"
) -> Path:
    """A snapshot as huggingface_hub lays it out: files are links to blobs."""
    repository = cache / f"models--{name.replace('/', '--')}"
    snapshot = repository / "snapshots" / commit
    for number, (file, content) in enumerate(files.items()):
        blob = write(repository / "blobs", {f"{commit[:4]}{number}": content}) / f"{commit[:4]}{number}"
        (snapshot / file).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / file).symlink_to(blob)
    if reference:
        write(repository / "refs", {reference: commit.encode()})
    return snapshot


def without(*names: str) -> dict[str, bytes]:
    return {name: content for name, content in model_files().items() if name not in names}


def test_folder(tmp_path: Path) -> None:
    folder = write(tmp_path / "model", model_files())
    assert locate(folder) == Located(folder, str(folder), "folder", None)
    assert locate(str(folder)) == locate(folder)


def test_folder_goes_before_the_cache(cache: Path) -> None:
    cached(cache, "someone/a-model", model_files())
    assert locate("someone/a-model").source == "hub cache"
    Path("someone/a-model").mkdir(parents=True)
    assert locate("someone/a-model") == Located(Path("someone/a-model"), "someone/a-model", "folder")


def test_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "model").mkdir()
    assert locate("~/model").folder == tmp_path / "model"


def test_revision_of_a_folder_is_not_passed_over_in_silence(tmp_path: Path) -> None:
    with pytest.warns(ModelWarning, match=r"revision 'v1' is not looked at: .* is a folder"):
        locate(tmp_path, revision="v1")


def test_file_instead_of_a_folder(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"")
    with pytest.raises(NotADirectoryError, match=r"model.safetensors is a file, not a folder: give the folder that"):
        locate(str(file))


@pytest.mark.parametrize("name", ["./absent", "../absent", "~/absent", "/absent", "a/b/c", Path("absent")])
def test_absent_path(name: str | Path) -> None:
    with pytest.raises(ModelNotFound, match=rf"^{name} is a path, and there is no such folder: /.* does not exist$"):
        locate(name)


@pytest.mark.parametrize("name", ["two words", "a--b/c", "org/..", "org/", "-x", "ünïcode", "a:b", "x" * 5000 + " "])
def test_what_cannot_be_a_name(name: str) -> None:
    with pytest.raises(ModelNotFound, match=r"neither an existing folder .* nor a name that the hub could have"):
        locate(name)


@pytest.mark.parametrize("name", [None, 3, b"model", ["model"]])
def test_what_is_no_name_at_all(name: object) -> None:
    with pytest.raises(InvalidInput, match=f"a model is given by its name or folder, not by {type(name).__name__}"):
        locate(name)  # type: ignore[arg-type]


def test_empty_name() -> None:
    with pytest.raises(ModelNotFound, match="the name of the model is empty: give a folder"):
        locate("")


@pytest.mark.parametrize("revision", ["", "../../x", "a/../b", "a\\..\\b", "/etc/passwd"])
def test_revision_that_leads_elsewhere(revision: str) -> None:
    with pytest.raises(ModelNotFound, match="is no revision: give a branch, a tag or a commit"):
        locate("someone/a-model", revision=revision, local_files_only=True)


def test_bare_names(cache: Path) -> None:
    cached(cache, "sentence-transformers/some-MiniLM", model_files())
    cached(cache, "cross-encoder/some-MiniLM", model_files())
    cached(cache, "bert-base-uncased", model_files())
    assert locate("some-MiniLM").name == "sentence-transformers/some-MiniLM"
    assert locate("some-MiniLM", bare_prefix="cross-encoder").name == "cross-encoder/some-MiniLM"
    assert locate("bert-base-uncased").name == "bert-base-uncased"
    with pytest.raises(ModelNotFound, match="models--BERT-base-uncased"):  # no organisation for that either
        locate("BERT-base-uncased", local_files_only=True)


def test_names_without_organisation_are_those_of_the_peer() -> None:
    peer = pytest.importorskip("sentence_transformers.util", reason="compares with sentence-transformers' own list")
    from vicinal.loading.locate import _WITHOUT_ORGANISATION

    assert set(peer.ORIGINAL_TRANSFORMER_MODELS) == _WITHOUT_ORGANISATION


def test_cached_revisions(cache: Path) -> None:
    other = "f" * 40
    main = cached(cache, "someone/a-model", model_files())
    tagged = cached(cache, "someone/a-model", model_files(), other, "refs/pr/1")
    assert locate("someone/a-model") == Located(main, "someone/a-model", "hub cache", COMMIT)
    assert locate("someone/a-model", revision="refs/pr/1").folder == tagged
    assert locate("someone/a-model", revision=other).folder == tagged
    with pytest.raises(ModelNotFound, match=f"has no revision 'v2', only commit {COMMIT}, commit {other}\n"):
        locate("someone/a-model", revision="v2", local_files_only=True)


def test_nothing_of_the_hub_is_imported_for_a_cached_model(cache: Path) -> None:
    cached(cache, "someone/a-model", model_files())
    code = """
import sys
from vicinal.loading.locate import locate
print(locate("someone/a-model").source, {"huggingface_hub", "vicinal.loading.hub"} & set(sys.modules))
"""
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stdout == "hub cache set()\n"


@pytest.mark.parametrize(
    ("absent", "text"),
    [
        ("model.safetensors", "missing: model.safetensors or pytorch_model.bin"),
        ("2_Dense/model.safetensors", "missing: 2_Dense/model.safetensors or 2_Dense/pytorch_model.bin"),
        ("1_Pooling/config.json", "missing: 1_Pooling/config.json"),
        ("config.json", "missing: config.json"),
    ],
)
def test_incomplete_snapshot_names_what_is_missing(cache: Path, absent: str, text: str) -> None:
    cached(cache, "someone/a-model", without(absent))
    with pytest.raises(ModelNotFound, match=f"has commit {COMMIT}, which is not complete; {text}\n"):
        locate("someone/a-model", local_files_only=True)


def test_link_that_leads_nowhere_is_missing(cache: Path) -> None:
    snapshot = cached(cache, "someone/a-model", model_files())
    (snapshot / "model.safetensors").resolve().unlink()
    with pytest.raises(ModelNotFound, match=r"missing: model.safetensors or pytorch_model.bin\n"):
        locate("someone/a-model", local_files_only=True)


def test_no_vocabulary_is_incomplete(cache: Path) -> None:
    cached(cache, "someone/a-model", without("tokenizer.json", "vocab.txt"))
    with pytest.raises(ModelNotFound, match=r"missing: tokenizer.json or another vocabulary\n"):
        locate("someone/a-model", local_files_only=True)


def test_neither_modules_nor_config(cache: Path) -> None:
    cached(cache, "someone/a-model", without("modules.json", "config.json"))
    with pytest.raises(ModelNotFound, match=r"missing: modules.json or config.json\n"):
        locate("someone/a-model", local_files_only=True)


def test_plain_transformers_checkpoint(cache: Path) -> None:
    cached(
        cache,
        "someone/a-model",
        {name: model_files()[name] for name in ("config.json", "vocab.txt")} | {"pytorch_model.bin": b""},
    )
    assert locate("someone/a-model").source == "hub cache"


def test_shards(cache: Path) -> None:
    index = b'{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}'
    files = without("model.safetensors") | {"model.safetensors.index.json": index}
    shard = {f"model-0000{number}-of-00002.safetensors": safetensors() for number in (1, 2)}
    snapshot = cached(cache, "someone/a-model", files | shard)
    assert locate("someone/a-model").source == "hub cache"
    (snapshot / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelNotFound, match=r"missing: model-00002-of-00002.safetensors\n"):
        locate("someone/a-model", local_files_only=True)


def test_static_model(cache: Path) -> None:
    modules = b'[{"path": "0_StaticEmbedding", "type": "sentence_transformers.models.StaticEmbedding"}]'
    files = {"modules.json": modules, "0_StaticEmbedding/tokenizer.json": b"{}"}
    snapshot = cached(cache, "someone/a-model", files)
    with pytest.raises(ModelNotFound, match=r"missing: 0_StaticEmbedding/model.safetensors or 0_Static"):
        locate("someone/a-model", local_files_only=True)
    write(snapshot, {"0_StaticEmbedding/model.safetensors": safetensors()})
    assert locate("someone/a-model").source == "hub cache"


@pytest.mark.parametrize("config", ["router_config.json", "config.json"])
def test_router(cache: Path, config: str) -> None:
    modules = b'[{"path": "", "type": "sentence_transformers.models.Router"}]'
    types = (
        b'{"types": {"query_0_StaticEmbedding": "x.StaticEmbedding", "document_0_Transformer": "x.Transformer",'
        b' "document_1_Pooling": "x.Pooling"}, "structure": {}}'
    )
    files = {
        "modules.json": modules,
        config: types,
        "query_0_StaticEmbedding/model.safetensors": safetensors(),
        "query_0_StaticEmbedding/tokenizer.json": b"{}",
        "document_0_Transformer/config.json": b"{}",
        "document_0_Transformer/tokenizer.json": b"{}",
        "document_0_Transformer/model.safetensors": safetensors(),
        "document_1_Pooling/config.json": b"{}",
    }
    snapshot = cached(cache, "someone/a-model", files)
    assert locate("someone/a-model").source == "hub cache"
    shutil.rmtree(snapshot / "document_0_Transformer")
    with pytest.raises(ModelNotFound, match=r"missing: document_0_Transformer/model.safetensors or "):
        locate("someone/a-model", local_files_only=True)


@pytest.mark.parametrize("path", ["../../elsewhere", "/etc", "C:\\x", "a\\..\\..\\b"])
def test_modules_outside_the_folder(cache: Path, path: str) -> None:
    import json

    modules = json.dumps([{"path": path, "type": "sentence_transformers.models.Dense"}]).encode()
    cached(cache, "someone/a-model", model_files() | {"modules.json": modules})
    with pytest.raises(UnsafeModel, match=r"modules.json of .* names .*, which lies outside the model's folder"):
        locate("someone/a-model")


def test_which_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As huggingface_hub resolves its own variables, with sentence-transformers' before them."""
    monkeypatch.delenv("HF_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert hub_cache() == tmp_path / ".cache" / "huggingface" / "hub"
    for variable, value, expected in (
        ("XDG_CACHE_HOME", "/x", "/x/huggingface/hub"),
        ("HF_HOME", "~/h", f"{tmp_path}/h/hub"),
        ("HUGGINGFACE_HUB_CACHE", "/old", "/old"),
        ("HF_HUB_CACHE", "/new", "/new"),
        ("SENTENCE_TRANSFORMERS_HOME", "/s", "/s"),
    ):
        monkeypatch.setenv(variable, value)
        assert hub_cache() == Path(expected)
        if variable != "SENTENCE_TRANSFORMERS_HOME":
            code = "from huggingface_hub.constants import HF_HUB_CACHE; print(HF_HUB_CACHE)"
            theirs = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
            assert Path(theirs.strip()) == Path(expected)
    assert hub_cache("/argument") == Path("/argument")
    monkeypatch.setenv("SENTENCE_TRANSFORMERS_HOME", "$HOME/s")
    assert hub_cache() == tmp_path / "s"


def test_cache_folder_argument(tmp_path: Path, cache: Path) -> None:
    cached(tmp_path / "other", "someone/a-model", model_files())
    assert locate("someone/a-model", cache_folder=tmp_path / "other").source == "hub cache"
    with pytest.raises(ModelNotFound):
        locate("someone/a-model", local_files_only=True)


def test_what_is_said_when_nothing_has_it(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelNotFound) as caught:
        locate("no-such-model", revision="v1")
    name = "sentence-transformers/no-such-model"
    assert str(caught.value).splitlines() == [
        f"the model '{name}' at revision 'v1' was not found. Looked at:",
        f"  folder     {Path.cwd() / 'no-such-model'}: does not exist",
        f"  hub cache  {cache}/models--sentence-transformers--no-such-model: does not exist",
        "  packages   no installed package has it",
        "  network    not asked, because HF_HUB_OFFLINE is set",
        "Ways to get it:",
        "  folder     give the path of a folder that holds the model's files",
        f"  package    install the wheel that `vicinal pack {name}` makes on a machine that has the model",
        "  network    unset HF_HUB_OFFLINE and try again; a private or gated model also needs token=... or HF_TOKEN",
    ]
    assert isinstance(caught.value, FileNotFoundError)
