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

FILES = "/proc/self/fd"
TCP_INFO_BYTES = 256
BYTES_RECEIVED_AT = 128  # offset of tcpi_bytes_received in struct tcp_info (linux/tcp.h, since 4.1)

Address = tuple[str, int]


def address_of(peer: str) -> Address | None:
    """Parse a gRPC peer such as ipv4:127.0.0.1:5 or ipv6:%5B::1%5D:5. Return None for other kinds."""
    kind, _, rest = unquote(peer).partition(":")
    host, _, port = rest.rpartition(":")
    if kind not in ("ipv4", "ipv6") or not port.isdigit():
        return None
    return _plain(host.strip("[]")), int(port)


def _plain(host: str) -> str:
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
        self._files: dict[Address, int] = {}

    def received_bytes(self, address: Address) -> int | None:
        """Return the number of bytes received over the connection so far, or None if it is not found."""
        with self._opened(address) as found:
            if found is None:
                return None
            info = found.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
            if len(info) < BYTES_RECEIVED_AT + 8:
                return None
            (received,) = struct.unpack_from("=Q", info, BYTES_RECEIVED_AT)
            return int(received)

    def close(self, address: Address) -> bool:
        """Close the connection, and return False if it is not found. To gRPC it looks closed by the peer."""
        with self._opened(address) as found:
            if found is None:
                return False
            with suppress(OSError):
                found.shutdown(socket.SHUT_RDWR)
            return True

    @contextmanager
    def _opened(self, address: Address) -> Iterator[socket.socket | None]:
        """Yield a duplicate of the connection's socket, so that its descriptor cannot be reused meanwhile."""
        found = self._again(self._files.get(address, -1), address)
        if found is None:
            self._look()
            found = self._again(self._files.get(address, -1), address)
        try:
            yield found
        except OSError:
            return  # the connection was closed meanwhile
        finally:
            if found is not None:
                found.close()

    @staticmethod
    def _again(file: int, address: Address) -> socket.socket | None:
        if file < 0 or not hasattr(socket, "TCP_INFO"):
            return None
        opened = _socket_of(file)
        if opened is not None and _other_end(opened) != address:
            opened.close()
            return None
        return opened

    def _look(self) -> None:
        """Index every open socket by its peer address."""
        self._files.clear()
        with suppress(OSError):
            for name in os.listdir(FILES):
                opened = _socket_of(int(name))
                if opened is not None:
                    with opened:
                        address = _other_end(opened)
                    if address is not None:
                        self._files[address] = int(name)


def _socket_of(file: int) -> socket.socket | None:
    try:
        if not os.readlink(f"{FILES}/{file}").startswith("socket:"):
            return None
        return socket.socket(fileno=os.dup(file))
    except OSError:
        return None


def _other_end(opened: socket.socket) -> Address | None:
    if opened.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    try:
        host, port, *_ = opened.getpeername()
    except OSError:
        return None
    return _plain(host), port
