"""Access to the sockets of gRPC's connections, which gRPC does not expose, to count received bytes and close them.

Sockets are found among the open files of the process, by their peer address. This works only on Linux; elsewhere no
socket is found, and the features that depend on it do nothing.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from urllib.parse import unquote

FD_FOLDER = "/proc/self/fd"
TCP_INFO_BYTES = 256
BYTES_RECEIVED_AT = 128  # offset of tcpi_bytes_received in struct tcp_info (linux/tcp.h, since 4.1)

Address = tuple[str, int]


def address_of(peer: str) -> Address | None:
    """Parse a gRPC peer such as ipv4:127.0.0.1:5 or ipv6:%5B::1%5D:5. Return None for other kinds."""
    kind, _, rest = unquote(peer).partition(":")
    host, _, port = rest.rpartition(":")
    if kind not in ("ipv4", "ipv6") or not port.isdigit():
        return None
    return _as_ipv4(host.strip("[]")), int(port)


def _as_ipv4(host: str) -> str:
    """Convert an IPv4-mapped IPv6 address, as dual-stack sockets report it, to IPv4."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


class Sockets:
    """Finds connections by their peer address, and caches their file descriptors."""

    def __init__(self) -> None:
        self._descriptors: dict[Address, int] = {}

    def received_bytes(self, address: Address) -> int | None:
        """Return the number of bytes received over the connection so far, or None if it is not found."""
        with self._open(address) as connection:
            if connection is None:
                return None
            info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
            if len(info) < BYTES_RECEIVED_AT + 8:
                return None
            (received,) = struct.unpack_from("=Q", info, BYTES_RECEIVED_AT)
            return int(received)

    def close(self, address: Address) -> bool:
        """Close the connection, and return False if it is not found. To gRPC it looks closed by the peer."""
        with self._open(address) as connection:
            if connection is None:
                return False
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            return True

    @contextmanager
    def _open(self, address: Address) -> Iterator[socket.socket | None]:
        """Yield a duplicate of the connection's socket, so that its descriptor cannot be reused meanwhile."""
        connection = self._reopen(self._descriptors.get(address, -1), address)
        if connection is None:
            self._index_sockets()
            connection = self._reopen(self._descriptors.get(address, -1), address)
        try:
            yield connection
        except OSError:
            return  # the connection was closed meanwhile
        finally:
            if connection is not None:
                connection.close()

    @staticmethod
    def _reopen(descriptor: int, address: Address) -> socket.socket | None:
        if descriptor < 0 or not hasattr(socket, "TCP_INFO"):
            return None
        opened = _socket_of(descriptor)
        if opened is not None and _peer_address(opened) != address:
            opened.close()
            return None
        return opened

    def _index_sockets(self) -> None:
        """Index every open socket by its peer address."""
        self._descriptors.clear()
        with suppress(OSError):
            for name in os.listdir(FD_FOLDER):
                opened = _socket_of(int(name))
                if opened is not None:
                    with opened:
                        address = _peer_address(opened)
                    if address is not None:
                        self._descriptors[address] = int(name)


def _socket_of(descriptor: int) -> socket.socket | None:
    try:
        if not os.readlink(f"{FD_FOLDER}/{descriptor}").startswith("socket:"):
            return None
        return socket.socket(fileno=os.dup(descriptor))
    except OSError:
        return None


def _peer_address(opened: socket.socket) -> Address | None:
    if opened.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    try:
        host, port, *_ = opened.getpeername()
    except OSError:
        return None
    return _as_ipv4(host), port
