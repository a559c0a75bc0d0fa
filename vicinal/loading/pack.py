"""A model as a wheel: `pip install` puts its files where vicinal finds them by name, without a network."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vicinal.errors import DamagedModel, ModelNotFound, UnsupportedModel
from vicinal.loading.folder import Folder
from vicinal.loading.layout import Plan, on_disk, plan
from vicinal.loading.packages import GROUP, STATEMENT
from vicinal.loading.weights import Tensor, read_safetensors

_PIECE = 1 << 20  # bytes held at a time
_MODEL_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
_VERSION = re.compile(
    r"(\d+!)?\d+(\.\d+)*((a|b|rc)\d+)?(\.post\d+)?(\.dev\d+)?(\+[a-z0-9]+(\.[a-z0-9]+)*)?", re.ASCII
)  # PEP 440, normal form
_INIT = b'"""The files of a model, for vicinal and whoever reads them; there is nothing to run."""\n'
_WHEEL = b"Wheel-Version: 1.0\nGenerator: vicinal\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def pack(
    folder: Path,
    out: Path,
    *,
    model_id: str,
    version: str = "1.0.0",
    dtype: Literal["keep", "bfloat16"] = "keep",
    revision: str | None = None,
) -> Path:
    """Write a wheel that holds a model's needed files, states them, and makes the model found by its id.

    The same files give the same wheel, byte for byte. Of large files only a few megabytes are in memory at a time.

    Args:
        folder: of the model.
        out: folder for the wheel, made where it is missing; a wheel of the same name there is replaced.
        model_id: as on the hub, "organisation/name".
        version: of the package, in the normal form of PEP 440.
        dtype: "bfloat16" rounds float32 tensors to the nearest bfloat16, ties to even; that halves the size and
            changes the model's vectors a little. Other tensors stay as they are.
        revision: the hub's commit that the files are of, if any; who asks for one gets this package only for it.

    Returns:
        The wheel's path.

    Raises:
        ModelNotFound: there is no such folder.
        DamagedModel: files are missing.
        UnsupportedModel: bfloat16 of weights that are no safetensors.
        ValueError: an argument is not what it should be.
    """
    if not _MODEL_ID.fullmatch(model_id):
        raise ValueError(f"model_id must be like 'organisation/name', got {model_id!r}")
    if not _VERSION.fullmatch(version):
        raise ValueError(f"version must be in the normal form of PEP 440, like '1.0.0', got {version!r}")
    if dtype not in ("keep", "bfloat16"):
        raise ValueError(f"dtype must be 'keep' or 'bfloat16', got {dtype!r}")
    if out.is_file() or out.suffix == ".whl":
        raise ValueError(f"out must be a folder, since the format decides the wheel's name, got {out}")
    wheel = _Wheel(folder, model_id, version, dtype, revision, plan(on_disk(folder)))
    _check(wheel)
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{wheel.package}-{version}-py3-none-any.whl"
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with zipfile.ZipFile(beside, "w", zipfile.ZIP_STORED) as archive:
            _write(wheel, archive)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return path


@dataclass(frozen=True)
class _Wheel:
    folder: Path
    model_id: str
    version: str
    dtype: str
    revision: str | None
    plan: Plan

    @property
    def slug(self) -> str:
        return re.sub(r"[^a-z0-9]+", "-", self.model_id.lower()).strip("-")

    @property
    def package(self) -> str:
        return f"vicinal_model_{self.slug.replace('-', '_')}"


def _check(wheel: _Wheel) -> None:
    if not wheel.folder.is_dir():
        raise ModelNotFound(f"{wheel.folder} is not a folder; give the one that holds the model's files")
    if wheel.plan.missing:
        raise DamagedModel(f"the model at {wheel.folder} is not complete; missing: {'; '.join(wheel.plan.missing)}")
    if not wheel.plan.weights:
        raise DamagedModel(
            f"the model at {wheel.folder} has no weights: its modules.json lists no module that has some"
        )
    other = [name for name in wheel.plan.weights if not name.endswith((".safetensors", ".index.json"))]
    if wheel.dtype == "bfloat16" and other:
        raise UnsupportedModel(
            f"{', '.join(other)} of {wheel.folder} is no safetensors file and cannot be rounded to bfloat16: "
            "save the model with safe_serialization=True, or pack it with dtype='keep'"
        )


def _write(wheel: _Wheel, archive: zipfile.ZipFile) -> None:
    record: dict[str, tuple[str, int]] = {}

    def add(name: str, pieces: Iterable[bytes | memoryview], size: int) -> str:
        digest, written = _store(archive, name, pieces, size)
        record[name] = (base64.urlsafe_b64encode(digest).rstrip(b"=").decode(), written)
        return digest.hex()

    info = f"{wheel.package}-{wheel.version}.dist-info"
    add(f"{wheel.package}/__init__.py", [_INIT], len(_INIT))
    hashes = {
        name: add(f"{wheel.package}/model/{name}", *_pieces(wheel, name))
        for name in (*wheel.plan.small, *wheel.plan.weights)
    }
    licence = _licence(Folder(wheel.folder).path("README.md"))
    statement = {
        "id": wheel.model_id, "revision": wheel.revision, "license": licence, "dtype": wheel.dtype, "files": hashes,
    }  # fmt: skip
    texts = {
        f"{wheel.package}/model/{STATEMENT}": json.dumps(statement, indent=1) + "\n",
        f"{info}/METADATA": _metadata(wheel, licence),
        f"{info}/WHEEL": _WHEEL.decode(),
        f"{info}/entry_points.txt": f"[{GROUP}]\n{wheel.model_id} = {wheel.package}:model\n",
    }
    for name, text in texts.items():
        add(name, [text.encode()], len(text.encode()))
    rows = [f"{name},sha256={digest},{size}" for name, (digest, size) in record.items()] + [f"{info}/RECORD,,"]
    listing = "\n".join(rows).encode() + b"\n"
    _store(archive, f"{info}/RECORD", [listing], len(listing))


def _store(archive: zipfile.ZipFile, name: str, pieces: Iterable[bytes | memoryview], size: int) -> tuple[bytes, int]:
    """Add a file, uncompressed and without the time, so that equal contents give equal wheels; its hash and size."""
    entry = zipfile.ZipInfo(name)  # 1980-01-01, the format's zero
    entry.external_attr = 0o100644 << 16
    entry.create_system = 3
    entry.file_size = size  # tells whether 64-bit sizes are needed
    digest, written = hashlib.sha256(), 0
    with archive.open(entry, "w") as file:
        for piece in pieces:
            written += file.write(piece)
            digest.update(piece)
    return digest.digest(), written


def _pieces(wheel: _Wheel, name: str) -> tuple[Iterable[bytes | memoryview], int]:
    """A model's file piece by piece, and its size."""
    path = Folder(wheel.folder).path(name)
    if wheel.dtype == "bfloat16" and name.endswith(".safetensors"):
        tensors = _widest_first(path)
        header = _header(tensors)
        return _rounded(header, tensors), len(header) + sum(map(_bytes, tensors))
    if wheel.dtype == "bfloat16" and name in wheel.plan.weights:
        index = _rounded_index(path)
        return [index], len(index)
    return _read(path), path.stat().st_size


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece


def _widest_first(path: Path) -> list[Tensor]:
    """A file's tensors in an order that leaves each of them aligned when float32 has become bfloat16."""
    return sorted(read_safetensors(path).values(), key=lambda tensor: -_itemsize(tensor))


def _itemsize(tensor: Tensor) -> int:
    return 2 if tensor.dtype == "F32" else tensor.array.itemsize


def _bytes(tensor: Tensor) -> int:
    return _itemsize(tensor) * tensor.array.size


def _header(tensors: Iterable[Tensor]) -> bytes:
    """The start of a safetensors file that has these tensors one after the other, float32 as bfloat16."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in tensors:
        start, end = end, end + _bytes(tensor)
        dtype = "BF16" if tensor.dtype == "F32" else tensor.dtype
        header[tensor.name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [start, end]}
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    return len(raw).to_bytes(8, "little") + raw


def _rounded(header: bytes, tensors: Iterable[Tensor]) -> Iterator[bytes | memoryview]:
    yield header
    for tensor in tensors:
        flat = tensor.array.reshape(-1)
        step = _PIECE // tensor.array.itemsize
        for start in range(0, flat.size, step):
            piece = flat[start : start + step]
            yield (to_bfloat16(piece) if tensor.dtype == "F32" else piece).view(np.uint8).data


def _rounded_index(path: Path) -> bytes:
    """The index of a model in several files, with the size that they have now."""
    index = json.loads(path.read_text("utf-8"))
    files = sorted(set(index["weight_map"].values()))
    total = sum(_bytes(tensor) for file in files for tensor in read_safetensors(path.with_name(file)).values())
    index["metadata"] = {**index.get("metadata", {}), "total_size": total}
    return json.dumps(index, indent=2).encode()


def to_bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The nearest bfloat16 of every float32, ties to the even one, as 16-bit patterns; nan stays nan.

    A bfloat16 is the upper half of a float32. Adding just under half of the lower half's range, and one more where
    the upper half is odd, carries into it exactly when rounding up is right, up to and into infinity.
    """
    bits = values.view(np.uint32)
    odd = (bits >> 16) & 1
    rounded = (bits + (np.uint32(0x7FFF) + odd)) >> 16
    quiet = (bits >> 16) | 0x40  # a nan whose payload lies in the lower half must not become infinity
    return np.where(np.isnan(values), quiet, rounded).astype(np.uint16)


def _licence(card: Path) -> str | None:
    """What a model card's front matter says under `license`; `license_name` where that is "other"."""
    if not card.is_file():
        return None
    front = re.match(r"\ufeff?---\s*\n(.*?)\n---\s*(\n|$)", card.read_text("utf-8", errors="replace"), re.DOTALL)
    found = (
        dict(re.findall(r"^(license|license_name):[ \t]*(?:\n[ \t]*-[ \t]*)?([^\n#]*)", front[1], re.M))
        if front
        else {}
    )
    stated = {key: value.strip().strip("'\"[]") for key, value in found.items()}
    return (stated.get("license_name") if stated.get("license") == "other" else None) or stated.get("license") or None


def _metadata(wheel: _Wheel, licence: str | None) -> str:
    lines = [
        "Metadata-Version: 2.1",
        f"Name: vicinal-model-{wheel.slug}",
        f"Version: {wheel.version}",
        f"Summary: The files of the model {wheel.model_id}, found by vicinal under that name",
        *([f"License: {licence}"] if licence else []),
    ]
    return "\n".join(lines) + "\n"
