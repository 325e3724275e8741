"""A port on which several processes of ours listen, and nobody else."""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)  # of one of a name's addresses: grpc does without it, too


@contextmanager
def shared_port(host: str, port: int) -> Iterator[int]:
    """Holds a port for processes that listen there with SO_REUSEPORT; which one it is, for 0 any that is free.

    OSError if somebody has it, ValueError where the system does not share connections out among processes.
    """
    if sys.platform != "linux":
        raise ValueError("DRAFTLINE_WORKERS above 1 needs Linux, where several processes can share a port")
    taken = f"cannot listen on {host}:{port}: is something else using it? DRAFTLINE_PORT sets another"
    with ExitStack() as held:
        for family, address in _addresses(host):
            try:
                holder = held.enter_context(_held(family, address, port))
            except OSError as error:
                if error.errno in NOT_HERE:
                    continue
                raise OSError(taken) from error
            port = holder.getsockname()[1]
        if not port:
            raise OSError(taken)
        yield port


def _addresses(host: str) -> list[tuple[socket.AddressFamily, str]]:
    try:
        found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise OSError(f"cannot listen on {host}: there is no such address") from error
    return [(family, str(address[0])) for family, _, _, _, address in found]


def _held(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    """A socket that does not listen, and so is given no connection, but keeps the port."""
    holder = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Bound by itself, which nobody else's socket lets pass but connections that are over; shared afterwards, and
        # with those alone who ask to share it.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((address, port))
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except BaseException:
        holder.close()
        raise
    return holder
