"""The shut network of conftest.py does shut: a fixture that lets connections through would hide what it is for."""

from __future__ import annotations

import socket

import pytest


@pytest.mark.parametrize("address", [("192.0.2.1", 9), ("example.invalid", 80), (b"192.0.2.1", 9)])
def test_outside_is_refused(address: tuple[str, int], no_network: None) -> None:
    with pytest.raises(pytest.fail.Exception, match="while the network is shut"):
        socket.create_connection(address, timeout=0.1)


def test_outside_addresses_are_refused_without_a_look_up(no_network: None) -> None:
    with socket.socket() as client, pytest.raises(pytest.fail.Exception, match=r"192\.0\.2\.1"):
        client.connect(("192.0.2.1", 9))
    with socket.socket() as client, pytest.raises(pytest.fail.Exception, match=r"192\.0\.2\.1"):
        client.connect_ex(("192.0.2.1", 9))


def test_this_machine_is_not(no_network: None) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        with socket.create_connection(("localhost", server.getsockname()[1]), timeout=5) as client:
            assert client.getpeername()[0] == "127.0.0.1"
