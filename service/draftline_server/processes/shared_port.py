"""A port that only the processes of this service can listen on."""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from ..observability.listen_errors import listen_error

NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)  # for one address of a host name: grpc skips it too


@contextmanager
def shared_port(host: str, port: int) -> Iterator[int]:
    """Reserve a port for processes that listen on it with SO_REUSEPORT, and yield its number. Port 0 is any free port.

    Raises OSError if the port is in use, and ValueError on systems that do not distribute connections among processes.
    """
    if sys.platform != "linux":
        raise ValueError("DRAFTLINE_WORKERS above 1 needs Linux, where several processes can share a port")
    with ExitStack() as held:
        for family, address in _addresses(host):
            try:
                holder = held.enter_context(_held(family, address, port))
            except OSError as error:
                if error.errno in NOT_HERE:
                    continue
                raise OSError(_problem(host, port)) from error
            port = holder.getsockname()[1]
        if not port:
            raise OSError(_problem(host, port))
        yield port


def _problem(host: str, port: int) -> str:
    return listen_error(host, port, "DRAFTLINE_HOST", "set DRAFTLINE_PORT to another one")


def _addresses(host: str) -> list[tuple[socket.AddressFamily, str]]:
    try:
        addresses = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise OSError(_problem(host, 0)) from error
    return [(family, str(address[0])) for family, _, _, _, address in addresses]


def _held(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    """Return a bound socket that reserves the port. It does not listen, so it receives no connections."""
    holder = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Bind without SO_REUSEPORT, which fails if another socket has the port, except for closed connections. Allow
        # sharing afterwards, and only with sockets that set SO_REUSEPORT too.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((address, port))
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except BaseException:
        holder.close()
        raise
    return holder
