"""Against a real Redis: the server on PATH, started for these tests and stopped after them."""

from __future__ import annotations

import copy
import pickle
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vicinal import SentenceTransformer
from vicinal.errors import CacheError, CacheWarning, MissingExtra
from vicinal.store.cache import RedisCache

redis = pytest.importorskip("redis", reason="the extra redis")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(folder: Path, port: int, *options: object) -> subprocess.Popen[bytes]:
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not on PATH (apt-get install redis-server)")
    common = ("--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder)
    chosen = options or ("--port", port)
    return subprocess.Popen([program, *map(str, (*common, *chosen))], stdout=subprocess.DEVNULL)


def answers(client: Any) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def wait(client: Any) -> None:
    deadline = time.monotonic() + 30
    while not answers(client):
        assert time.monotonic() < deadline, "redis-server does not answer"
        time.sleep(0.02)
    client.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server."""
    port = free_port()
    process = start(tmp_path_factory.mktemp("redis"), port)
    try:
        wait(redis.Redis(port=port))
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def cache(server: str, request: pytest.FixtureRequest) -> Iterator[RedisCache]:
    """With rows of its own."""
    with RedisCache(server, prefix=f"{request.node.name}:", timeout=10.0) as cache:
        yield cache
        cache.clear()


KEYS = [i.to_bytes(16, "big") for i in range(1500)]


def test_rows_come_back(cache: RedisCache) -> None:
    assert cache.get_many(KEYS) == [None] * 1500
    rows = {key: bytes([i % 256]) * 50 for i, key in enumerate(KEYS) if i % 3}
    cache.put_many(list(rows.items()))
    assert cache.get_many(KEYS) == [rows.get(key) for key in KEYS]
    assert cache.get_many([]) == []
    cache.put_many([])
    assert cache.stats() == {"rows": 1000, "bytes": 50_000}
    assert dict(cache.items()) == rows
    for twin in (copy.deepcopy(cache), pickle.loads(pickle.dumps(cache))):
        assert twin.get_many(KEYS[:3]) == [None, rows[KEYS[1]], rows[KEYS[2]]]
        twin.close()


def test_clearing_leaves_other_keys_alone(server: str) -> None:
    with RedisCache(server, prefix="a*[") as one, RedisCache(server, prefix="a*[b") as two, RedisCache(server) as plain:
        for cache in (one, two, plain):
            cache.put_many([(KEYS[0], b"row")])
        two.clear()
        assert [cache.get_many(KEYS[:1]) for cache in (one, two, plain)] == [[b"row"], [None], [b"row"]]
        plain.clear()
        assert one.stats()["rows"] == 1
        one.clear()
        assert one.stats() == {"rows": 0, "bytes": 0}


def test_rows_end_with_their_time(server: str) -> None:
    with RedisCache(server, ttl=0.05, prefix="ttl:") as cache, RedisCache(server, prefix="ever:") as other:
        cache.put_many([(KEYS[0], b"row")])
        other.put_many([(KEYS[0], b"row")])
        time.sleep(0.2)
        assert cache.get_many(KEYS[:1]) == [None]
        assert other.get_many(KEYS[:1]) == [b"row"]
        other.clear()


def test_a_model_with_it(cache: RedisCache, static_folder: Path, computed: Callable[..., list[Any]]) -> None:
    plain, model = SentenceTransformer(static_folder), SentenceTransformer(static_folder, cache=cache)
    texts = ["red apple", "tax", "law law", "red apple"]
    np.testing.assert_array_equal(model.encode(texts), plain.encode(texts))
    seen = computed(model)
    np.testing.assert_array_equal(model.encode(texts), plain.encode(texts))
    assert seen == []
    assert model.cache is not None
    assert (model.cache.stats().hits, model.cache.stats().failures) == (3, 0)
    other = SentenceTransformer(static_folder, cache=cache.url)
    assert isinstance(other.cache and other.cache.store, RedisCache)
    model.close()


def test_threads_share_it(cache: RedisCache) -> None:
    found: list[Any] = []
    cache.put_many([(key, key) for key in KEYS])
    threads = [threading.Thread(target=lambda: found.append(cache.get_many(KEYS) == KEYS)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 8


def test_a_server_that_is_down(static_folder: Path) -> None:
    cache = RedisCache(f"redis://user:secret@127.0.0.1:{free_port()}/0?socket_keepalive=1", timeout=0.5)
    with pytest.raises(CacheError, match=r"RedisCache\('127\.0\.0\.1:\d+/0'\): ConnectionError: ") as caught:
        cache.get_many(KEYS[:1])
    assert "secret" not in str(caught.value)
    model = SentenceTransformer(static_folder, cache=cache)
    with pytest.warns(CacheWarning, match="encoding goes on without it") as warned:
        found = model.encode(["red", "law"])
    assert len(warned) == 1
    np.testing.assert_array_equal(found, SentenceTransformer(static_folder).encode(["red", "law"]))


def test_a_server_that_does_not_answer(static_folder: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        cache = RedisCache(f"redis://127.0.0.1:{silent.getsockname()[1]}", timeout=0.1)
        model = SentenceTransformer(static_folder, cache=cache)
        with pytest.warns(CacheWarning, match="Timeout"):
            model.encode(["red", "law"])
        model.close()


def test_a_server_that_dies_on_the_way(tmp_path: Path, static_folder: Path) -> None:
    port = free_port()
    process = start(tmp_path, port)
    wait(redis.Redis(port=port))
    plain, model = (
        SentenceTransformer(static_folder),
        SentenceTransformer(static_folder, cache=RedisCache(f"redis://127.0.0.1:{port}", timeout=0.5)),
    )
    model.encode(["red"])
    process.kill()
    process.wait()
    with pytest.warns(CacheWarning, match="cannot be read"):
        np.testing.assert_array_equal(model.encode(["red", "law"]), plain.encode(["red", "law"]))
    model.close()


def test_a_server_without_room(tmp_path: Path, static_folder: Path) -> None:
    port = free_port()
    process = start(tmp_path, port, "--port", port, "--maxmemory", "1", "--maxmemory-policy", "noeviction")
    try:
        wait(redis.Redis(port=port))
        model = SentenceTransformer(static_folder, cache=f"redis://127.0.0.1:{port}")
        with pytest.warns(CacheWarning, match="cannot be written .*OOM|cannot be written .*maxmemory"):
            model.encode(["red"])
        model.close()
    finally:
        process.kill()
        process.wait()


def test_tls(tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not on PATH: no certificate for a server with TLS")
    crt, secret, port = tmp_path / "crt", tmp_path / "key", free_port()
    make = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", secret, "-out", crt, "-days", "2",
            "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]  # fmt: skip
    subprocess.run(make, check=True, capture_output=True)
    options = ("--port", 0, "--tls-port", port, "--tls-cert-file", crt, "--tls-key-file", secret)
    process = start(tmp_path, port, *options, "--tls-auth-clients", "no", "--tls-ca-cert-file", crt)
    try:
        wait(redis.Redis(port=port, ssl=True, ssl_ca_certs=str(crt)))
        with RedisCache(f"rediss://127.0.0.1:{port}?ssl_ca_certs={crt}") as cache:
            cache.put_many([(KEYS[0], b"row")])
            assert cache.get_many(KEYS[:2]) == [b"row", None]
        with RedisCache(f"rediss://127.0.0.1:{port}") as cache, pytest.raises(CacheError, match="CERTIFICATE_VERIFY"):
            cache.get_many(KEYS[:1])
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": "http://host"}, "redis://"),
        ({"ttl": 0}, "ttl must be at least 0.001 seconds or None, not 0"),
        ({"timeout": 0}, "timeout must be a positive number of seconds, not 0"),
        ({"dtype": "int8"}, 'dtype must be "float32" or "float16", not \'int8\''),
    ],
)
def test_bad_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RedisCache(**{"url": "redis://localhost", **options})


def test_without_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(MissingExtra, match=r"a cache in Redis needs redis, .* pip install 'vicinal\[redis\]'"):
        RedisCache("redis://localhost")
