"""safetensors files: read as the library reads them, refused where it refuses them."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.numpy import load_file, save_file

from vicinal.errors import DamagedModel, UnsupportedModel
from vicinal.loading.weights import Scope, Tensor, read_safetensors, write_safetensors

TYPES = ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u1", "?")
SHAPES = arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5)
ANY = st.sampled_from(TYPES).flatmap(lambda kind: arrays.arrays(kind, SHAPES))
NAMES = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=8).filter("__metadata__".__ne__)
FILES = st.dictionaries(NAMES, ANY, min_size=1, max_size=5)
relaxed = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def bits(array: np.ndarray) -> tuple[str, tuple[int, ...], bytes]:
    """An array to the bit: nan equals nan, and 0 is not -0."""
    return array.dtype.str, array.shape, array.tobytes()


@relaxed
@given(FILES)
def test_what_the_library_wrote(tmp_path: Path, tensors: dict[str, np.ndarray]) -> None:
    path = tmp_path / "a.safetensors"
    save_file({name: np.ascontiguousarray(a).reshape(a.shape) for name, a in tensors.items()}, path)
    found = read_safetensors(path)
    assert {name: bits(t.array) for name, t in found.items()} == {name: bits(a) for name, a in tensors.items()}
    assert all(t.name == name and t.file == path for name, t in found.items())


@relaxed
@given(FILES)
def test_the_library_reads_what_is_written(tmp_path: Path, tensors: dict[str, np.ndarray]) -> None:
    path = tmp_path / "a.safetensors"
    write_safetensors(path, {name: Tensor(name, Tensor.of(name, a).dtype, a) for name, a in tensors.items()})
    found = load_file(path)
    assert {name: bits(a) for name, a in found.items()} == {name: bits(a) for name, a in tensors.items()}
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]
    assert {name: bits(t.array) for name, t in read_safetensors(path).items()} == {n: bits(a) for n, a in found.items()}


def test_bfloat16_is_the_upper_half_of_float32(tmp_path: Path) -> None:
    values = np.array([[1.5, -2.0, 3.140625], [0.0, -0.0, np.inf]], np.float32)
    half = (values.view(np.uint32) >> 16).astype(np.uint16)
    write_safetensors(tmp_path / "a.safetensors", {"a": Tensor("a", "BF16", half)})
    with safetensors.safe_open(tmp_path / "a.safetensors", "np") as file:
        assert file.get_slice("a").get_dtype() == "BF16"
        assert file.metadata() == {"format": "pt"}
    tensor = read_safetensors(tmp_path / "a.safetensors")["a"]
    assert tensor.dtype == "BF16"
    assert bits(tensor.numeric()) == bits(values)
    assert bits(tensor.rows(np.array([1, 0, 1]))) == bits(values[[1, 0, 1]])


def test_float16_is_widened_and_the_rest_is_not() -> None:
    for kind, wanted in (("f2", "f4"), ("f4", "f4"), ("f8", "f8"), ("i1", "i1")):
        tensor = Tensor.of("a", np.array([[1, 2], [3, 4]], kind))
        assert tensor.numeric().dtype == np.dtype(wanted)
        assert tensor.rows(np.array([1])).tolist() == [[3, 4]]


def test_reading_maps_and_never_writes(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"a": np.arange(6, dtype=np.float32)}, path)
    before = path.read_bytes()
    tensor = read_safetensors(path)["a"]
    assert not tensor.array.flags.owndata
    if tensor.array.flags.writeable:  # a private page: the file stays as it is
        tensor.array[0] = 99
    assert path.read_bytes() == before


def test_a_tensor_at_an_odd_place(tmp_path: Path) -> None:
    """Older writers did not align; processors and runtimes want it."""
    path = raw(tmp_path, {"b": entry("U8", [1], 0, 1), "a": entry("F32", [2], 1, 9)}, b"\7" + struct.pack("<2f", 1, 2))
    tensor = read_safetensors(path)["a"]
    assert tensor.array.tolist() == [1, 2]
    assert tensor.array.flags.aligned


# ---- damaged files -------------------------------------------------------------------------------------------------


def entry(dtype: Any, shape: Any, *offsets: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": list(offsets)}


def raw(folder: Path, header: Any, data: bytes = b"\0" * 64, length: int | None = None) -> Path:
    """A file with any header, and any claim of its length."""
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = folder / "weights.safetensors"
    path.write_bytes(struct.pack("<Q", len(content) if length is None else length) + content + data)
    return path


GOOD = entry("F32", [4], 0, 16)
BROKEN: dict[str, tuple[Any, str]] = {
    "not JSON": (b"{oops", "header cannot be read"),
    "not UTF-8": (b"\xff\xfe{}", "header cannot be read"),
    "a list": ([GOOD], "header cannot be read"),
    "a number": (5, "header cannot be read"),
    "too deep": (b"[" * 100_000, "header cannot be read"),
    "no dtype": ({"t": {"shape": [4], "data_offsets": [0, 16]}}, "header cannot be read"),
    "no shape": ({"t": {"dtype": "F32", "data_offsets": [0, 16]}}, "header cannot be read"),
    "no offsets": ({"t": {"dtype": "F32", "shape": [4]}}, "header cannot be read"),
    "an entry that is none": ({"t": 5}, "header cannot be read"),
    "three offsets": ({"t": entry("F32", [4], 0, 8, 16)}, "header cannot be read"),
    "offsets of text": ({"t": entry("F32", [4], "0", "16")}, "tensor t"),
    "a fraction": ({"t": entry("F32", [4.0], 0, 16)}, "tensor t"),
    "a truth value": ({"t": entry("F32", [True], 0, 4)}, "tensor t"),
    "a negative offset": ({"t": entry("F32", [4], -16, 0)}, "tensor t"),
    "a negative dimension": ({"t": entry("F32", [-4], 0, 16)}, "tensor t"),
    "two negative dimensions": ({"t": entry("F32", [-2, -2], 0, 16)}, "tensor t"),
    "beyond the end": (
        {"s": entry("U8", [60], 0, 60), "t": entry("F32", [4], 60, 76)},
        r"tensor t F32 \[4\] lies at bytes 60 to 76 of 64",
    ),
    "backwards": ({"t": entry("F32", [4], 16, 0)}, "tensor"),
    "too few bytes": ({"t": entry("F32", [4], 0, 15)}, r"tensor t F32 \[4\] lies at bytes 0 to 15 of 64 .*damaged"),
    "too many bytes": ({"t": entry("F32", [4], 0, 20)}, "tensor t"),
    "ten gigabytes": ({"t": entry("F32", [10 << 28], 0, 10 << 30)}, "10,737,418,240 of 64"),
    "an overflow": ({"t": entry("F32", [2**32, 2**32], 0, 0)}, "tensor t"),
    "a huge dimension of nothing": ({"t": entry("F32", [0, 10**30], 0, 0)}, "tensor t"),
    "too many dimensions": ({"t": entry("F32", [1] * 70, 0, 4)}, "tensor t"),
    "overlapping": ({"s": GOOD, "t": entry("F32", [4], 8, 24)}, "tensors overlap or leave holes"),
    "a hole": ({"t": entry("F32", [4], 16, 32)}, "tensors overlap or leave holes"),
    "one name twice": (
        b'{"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"t":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}',
        "t",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_header(tmp_path: Path, name: str) -> None:
    header, text = BROKEN[name]
    path = raw(tmp_path, header)
    with pytest.raises(DamagedModel, match=text) as caught:
        read_safetensors(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("length", [10_000, 1 << 40, 2**64 - 1])
def test_a_header_that_claims_more_than_there_is(tmp_path: Path, length: int) -> None:
    path = raw(tmp_path, {"t": GOOD}, length=length)
    with pytest.raises(DamagedModel, match=rf"truncated or no safetensors file: .* header claims {length:,}") as caught:
        read_safetensors(path)
    assert "Download or copy it again." in str(caught.value)


def test_a_header_larger_than_any(tmp_path: Path) -> None:
    path = raw(tmp_path, {"t": GOOD}, length=200_000_000)
    os.truncate(path, 400_000_000)
    with pytest.raises(DamagedModel, match="header claims 200,000,000"):
        read_safetensors(path)


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    save_file({"a": np.arange(7, dtype=np.float32), "b": np.ones((2, 3), np.int8)}, tmp_path / "whole")
    content = (tmp_path / "whole").read_bytes()
    path = tmp_path / "cut"
    for end in range(len(content)):
        path.write_bytes(content[:end])
        with pytest.raises(DamagedModel, match="cut"):
            read_safetensors(path)


def test_a_type_that_is_not_handled(tmp_path: Path) -> None:
    path = raw(tmp_path, {"t": entry("F8_E4M3", [4], 0, 4)}, b"\0" * 4)
    with pytest.raises(UnsupportedModel, match=r"tensor t has type F8_E4M3; read here are F64, F32, F16, BF16"):
        read_safetensors(path)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"a": np.zeros(3, np.float32)}, path)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError("no room")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no room"):
        write_safetensors(path, {"a": Tensor.of("a", np.ones(3, np.float32))})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_writing_over_a_file_that_is_mapped(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"a": np.arange(5000, dtype=np.float32)}, path)
    mapped = read_safetensors(path)["a"]
    write_safetensors(path, {"a": Tensor.of("a", np.ones(3, np.float32))})
    assert mapped.array.sum() == 5000 * 4999 / 2
    write_safetensors(path, {"a": mapped})
    assert load_file(path)["a"].sum() == 5000 * 4999 / 2


# ---- scopes --------------------------------------------------------------------------------------------------------

MATRIX = Tensor("1_Dense/linear.weight", "F32", np.zeros((2, 3), np.float32), Path("/m/1_Dense/model.safetensors"))


def test_a_scope_remembers_what_was_read() -> None:
    other = Tensor.of("1_Dense/linear.bias", np.zeros(2, np.float32))
    scope = Scope({MATRIX.name: MATRIX, other.name: other})
    assert scope.unread() == ["1_Dense/linear.bias", "1_Dense/linear.weight"]
    assert scope.at("1_Dense", "/").at("linear").tensor("weight", 2, 3) is MATRIX
    assert scope.unread() == ["1_Dense/linear.bias"]
    assert [name for name, _ in scope.read()] == ["1_Dense/linear.weight"]
    assert scope.at("1_Dense", "/").find("absent", 1) is None
    assert scope.unread() == ["1_Dense/linear.bias"]


def test_a_tensor_of_another_shape() -> None:
    scope = Scope({MATRIX.name: MATRIX}).at("1_Dense", "/").at("linear")
    for read in (scope.tensor, scope.find):
        with pytest.raises(DamagedModel, match=r"1_Dense/linear.weight has shape \[2, 3\]; .* asks for \[3, 2\]") as e:
            read("weight", 3, 2)
        assert "/m/1_Dense/model.safetensors" in str(e.value)


def test_a_missing_tensor_names_the_file_that_should_have_it() -> None:
    root = Tensor("/encoder.weight", "F32", MATRIX.array, Path("/m/model.safetensors"))
    scope = Scope({root.name: root, MATRIX.name: MATRIX})
    with pytest.raises(DamagedModel, match=r"linear.bias \[2\] is missing, which the configuration asks") as caught:
        scope.at("1_Dense", "/").at("linear").tensor("bias", 2)
    assert "/m/1_Dense" in str(caught.value)
    with pytest.raises(DamagedModel, match=r"^/m/model.safetensors: tensor encoder.bias \[2\] is missing"):
        scope.at("", "/").at("encoder").tensor("bias", 2)
