"""An address that the service cannot listen on is explained by its host, its port, or the rights of the user."""

from __future__ import annotations

import errno
import socket

import pytest
from draftline_server.observability import listen_errors
from draftline_server.observability.listen_errors import bind_error, listen_error
from draftline_server.processes.shared_port import shared_port


@pytest.mark.parametrize("host", ["192.0.2.1", "a..b"])
def test_host_that_is_not_this_machine_is_named(host: str) -> None:
    expected = f"cannot listen on {host}:0: {host} is not an address of this machine; set DRAFTLINE_HOST to one"
    assert listen_error(host, 0, "DRAFTLINE_HOST", "-").startswith(expected)
    with pytest.raises(OSError, match="is not an address of this machine"), shared_port(host, 0):
        pass


def test_port_in_use_is_named_with_the_fix() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert listen_error("127.0.0.1", port, "-", "set another one") == (
            f"cannot listen on 127.0.0.1:{port}: the port may be in use; set another one"
        )
    assert bind_error("127.0.0.1", port) is None


def test_port_that_only_root_may_use_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listen_errors, "bind_error", lambda *_: errno.EACCES)
    assert "this user is not allowed to listen on port 80; use a port above 1023" in listen_error("h", 80, "-", "-")
