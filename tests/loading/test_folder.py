"""Files are read inside the model's folder and nowhere else."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from vicinal.errors import DamagedModel, UnsafeModel
from vicinal.loading.folder import Folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    model = tmp_path / "model"
    (model / "sub").mkdir(parents=True)
    (model / "config.json").write_text('{"a": 1}', "utf-8")
    (tmp_path / "secret.json").write_text('{"secret": 1}', "utf-8")
    return model


@pytest.mark.parametrize("name", ["config.json", "./config.json", "sub/../config.json", "."])
def test_names_inside(root: Path, name: str) -> None:
    if ".." in name:  # even where it would lead back
        with pytest.raises(UnsafeModel):
            Folder(root).path(name)
    else:
        assert Folder(root).path(name) == root / name


@pytest.mark.parametrize(
    "name",
    [
        "../secret.json",
        "..",
        "sub/../../secret.json",
        "/etc/passwd",
        "//etc/passwd",
        "..\\secret.json",
        "sub\\..\\..\\secret.json",
        "C:/secret.json",
        "C:secret.json",
        "\\\\host\\share",
        "config.json:stream",
        "config\0.json",
    ],
)
def test_names_outside(root: Path, name: str) -> None:
    folder = Folder(root)
    for read in (folder.path, folder.has, folder.text, folder.json, folder.mapping, folder.optional):
        with pytest.raises(UnsafeModel, match=r"names the file .* which is not inside its folder") as caught:
            read(name)
        assert str(root) in str(caught.value)


@pytest.mark.parametrize("name", ["a" * 300 + "/config.json", "\ud800/config.json"])
def test_names_that_no_file_can_have(root: Path, name: str) -> None:
    with pytest.raises((DamagedModel, UnsafeModel)):
        Folder(root).mapping(name)


def test_a_link_out_of_the_folder(root: Path) -> None:
    (root / "link.json").symlink_to("../secret.json")
    (root / "out").symlink_to("..")
    for name in ("link.json", "out/secret.json"):
        with pytest.raises(UnsafeModel, match=r"is a link to .*secret.json, outside the model's folder; copy the file"):
            Folder(root).mapping(name)


def test_a_link_to_a_folder_of_a_like_name(root: Path) -> None:
    """Being inside is no matter of how a path begins."""
    sibling = root.with_name("model-secret")
    sibling.mkdir()
    (sibling / "a.json").write_text("{}", "utf-8")
    (root / "a.json").symlink_to(sibling / "a.json")
    with pytest.raises(UnsafeModel, match="is a link to"):
        Folder(root).mapping("a.json")


def test_a_link_inside_and_a_folder_that_is_a_link(root: Path) -> None:
    (root / "sub/alias.json").symlink_to("../config.json")
    assert Folder(root).mapping("sub/alias.json") == {"a": 1}
    linked = root.with_name("linked")
    linked.symlink_to(root, target_is_directory=True)
    assert Folder(linked).mapping("config.json") == {"a": 1}
    assert Folder(linked).mapping("sub/alias.json") == {"a": 1}


def test_a_link_that_leads_to_itself(root: Path) -> None:
    (root / "loop.json").symlink_to("loop.json")
    folder = Folder(root)
    with pytest.raises((DamagedModel, UnsafeModel), match=r"loop\.json"):
        folder.mapping("loop.json")


def test_the_hubs_cache(tmp_path: Path) -> None:
    """A snapshot's files are links to its own model's blobs, and to no other's."""
    snapshot = tmp_path / "models--org--name/snapshots/c0ffee"
    blobs, foreign = tmp_path / "models--org--name/blobs", tmp_path / "models--other--name/blobs"
    for folder in (snapshot, blobs, foreign):
        folder.mkdir(parents=True)
    for folder in (blobs, foreign):
        (folder / "abc").write_text("{}", "utf-8")
    (snapshot / "config.json").symlink_to("../../blobs/abc")
    (snapshot / "foreign.json").symlink_to(foreign / "abc")
    assert Folder(snapshot).mapping("config.json") == {}
    with pytest.raises(UnsafeModel, match="outside the model's folder"):
        Folder(snapshot).mapping("foreign.json")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"{", "is not valid JSON .*damaged or half-written"),
        (b"", "is not valid JSON"),
        (b"[" * 100_000, "is not valid JSON .*recursion"),
        (b'{"a":' * 100_000, "is not valid JSON .*recursion"),
        (b"9" * 5000, "is not valid JSON"),
        (b"\xff\xfe{}", "is not UTF-8 text .*damaged, or not what its name says"),
        (b"[1]", "must hold a JSON object, not list"),
        (b"null", "must hold a JSON object, not NoneType"),
        (b'"text"', "must hold a JSON object, not str"),
    ],
)
def test_what_is_no_json_object(root: Path, content: bytes, text: str) -> None:
    (root / "bad.json").write_bytes(content)
    with pytest.raises(DamagedModel, match=text) as caught:
        Folder(root).mapping("bad.json")
    assert str(root / "bad.json") in str(caught.value)


def test_a_file_that_claims_to_be_enormous(root: Path) -> None:
    """Ten gigabytes that take no room on the disk, and must take none in memory."""
    with (root / "huge.json").open("wb") as file:
        file.truncate(10 << 30)
    with pytest.raises(DamagedModel, match=r"huge.json has 10,737,418,240 bytes; no configuration or vocabulary is"):
        Folder(root).text("huge.json")


def test_absent(root: Path) -> None:
    folder = Folder(root)
    assert not folder.has("none.json")
    assert not folder.has("sub")
    assert folder.optional("none.json", "other.json") == {}
    with pytest.raises(DamagedModel, match=r"none\.json is missing: the model's folder is incomplete, or is no model"):
        folder.mapping("none.json")
    with pytest.raises(DamagedModel, match=r"sub is no regular file"):
        folder.text("sub")


def test_the_first_of_several_is_read(root: Path) -> None:
    (root / "second.json").write_text('{"b": 2}', "utf-8")
    assert Folder(root).optional("none.json", "second.json", "config.json") == {"b": 2}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are a matter of POSIX")
def test_a_pipe_is_no_file(root: Path) -> None:
    """Reading one would wait for ever."""
    os.mkfifo(root / "pipe.json")
    assert not Folder(root).has("pipe.json")

    def late(*_: object) -> None:
        pytest.fail("it waits for somebody to write into the pipe")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, 1)
    try:
        with pytest.raises(DamagedModel, match=r"pipe\.json"):
            Folder(root).mapping("pipe.json")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
